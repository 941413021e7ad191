package envoy

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// ads says that a resource comes over the same stream as all others. Envoy waits
// for it without a timeout: a missing resource is on its way, and an incomplete
// configuration is worse than the previous one.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(0),
	}
}

// duration clamps d to zero, because Envoy accepts no negative duration.
func duration(d time.Duration) *durationpb.Duration { return durationpb.New(max(d, 0)) }
