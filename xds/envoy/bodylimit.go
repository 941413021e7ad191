package envoy

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	bodylimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/body_size_limit/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
)

// bodyLimitFilter answers 413 to a request whose body is larger than allowed.
// It counts what streams by and buffers nothing.
const bodyLimitFilter = "fairway.body-limit"

// bodyLimit is the filter of the chain: the gateway's own limit for requests
// whose route has none. Without one it does nothing, but is there, because a
// filter that a route would have to enable is not run for hosts that are found
// by the fallback. Hosts that are found by their full name switch it off where
// they have no limit, which saves a request some microseconds.
func bodyLimit(maxBytes int64) *compositev3.Composite {
	if maxBytes <= 0 {
		return &compositev3.Composite{}
	}
	return &compositev3.Composite{Matcher: always("limit", limit(maxBytes))}
}

func bodyLimitPerRoute(maxBytes int64) *anypb.Any {
	return typed(&compositev3.CompositePerRoute{Matcher: always("limit", limit(maxBytes))})
}

func limit(maxBytes int64) *bodylimitv3.BodySizeLimit {
	return &bodylimitv3.BodySizeLimit{MaxRequestBytes: wrapperspb.UInt64(uint64(maxBytes))}
}

// always is the matcher tree without a branch: its one action applies to every
// request. It gives a route a filter of a kind that takes no configuration per
// route, which the composite filter does.
func always(name string, config proto.Message) *matcherv3.Matcher {
	return &matcherv3.Matcher{OnNoMatch: execute(name, config)}
}

// execute has a request pass a filter of this configuration.
func execute(name string, config proto.Message) *matcherv3.Matcher_OnMatch {
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: name,
		TypedConfig: typed(&compositev3.ExecuteFilterAction{
			TypedConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: typed(config)},
		}),
	}}}
}
