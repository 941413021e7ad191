package envoy

import (
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

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
