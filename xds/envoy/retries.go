package envoy

import (
	"google.golang.org/protobuf/types/known/wrapperspb"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
)

// retryBody is how many bytes of a request's body are kept, beside streaming
// them, until no retry is possible. What an endpoint that refuses connections
// is sent of a larger body is lost.
const retryBody = 256 << 10

// reselections is how often the load balancer may be asked for an endpoint that
// was not tried yet. It favours the one with the fewest requests, which is one
// that refuses connections: of two endpoints it chooses that three times out of four.
const reselections = 32

// retries is how many other endpoints are tried. One is not enough: when pods are
// replaced several may be gone before Envoy has heard of the first.
const retries = 3

// retryPolicy tries other endpoints when the one before cannot have begun to
// work on the request. For requests that may be executed twice safeRetries adds
// to it.
func retryPolicy() *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn:    "connect-failure,refused-stream,reset-before-request",
		NumRetries: wrapperspb.UInt32(retries),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: typed(&previousv3.PreviousHostsPredicate{}),
			},
		}},
		HostSelectionRetryMaxAttempts: reselections,
	}
}

// retriesFilter has safe requests be tried again where others are not.
const retriesFilter = "fairway.retries"

// safeRetries has requests of safe methods (RFC 9110, section 9.2.1) be tried
// again whenever the connection or the stream ends before a response begins. The
// retry policy of a virtual host knows no methods; the router adds to it what this
// header says, and removes the header. What a client says in it was removed
// before.
func safeRetries() *compositev3.Composite {
	safe := both(inHeader(":method", matching("GET|HEAD|OPTIONS")), not(anyOf(
		isThere("upgrade"),
		// Some backends take the method from these.
		isThere("x-http-method-override"), isThere("x-http-method"), isThere("x-method-override"),
	)))
	return &compositev3.Composite{Matcher: when(safe, execute("retry", &headerv3.HeaderMutation{
		Mutations: &headerv3.Mutations{RequestMutations: []*mutationv3.HeaderMutation{set("x-envoy-retry-on", "reset")}},
	}))}
}
