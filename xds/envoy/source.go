package envoy

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// ads says that a resource comes by the stream that all others come by. Envoy
// waits for it without limit: what it does not have yet is coming, and half a
// picture is worse than the last one.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(0),
	}
}

// duration is what Envoy takes for one: not negative.
func duration(d time.Duration) *durationpb.Duration { return durationpb.New(max(d, 0)) }
