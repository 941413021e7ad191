package envoy

import (
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	bodylimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/body_size_limit/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
)

// bodyLimitFilter answers 413 to a request whose body is too large. It counts the
// body as it streams and buffers nothing.
const bodyLimitFilter = "fairway.body-limit"

// bodyLimit is the filter in the chain. It applies the gateway's limit to
// requests whose route has none. Without a gateway limit the filter does nothing,
// but it is still in the chain: Envoy does not run a filter that only the route
// enables if the fallback finds the host. Hosts that are found by their full name
// disable the filter if they have no limit, which saves some microseconds per
// request.
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
