package envoy

import (
	"google.golang.org/protobuf/types/known/wrapperspb"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
)

// retryBody is how many bytes of a request's body Envoy keeps for a retry while
// it streams them. If an endpoint refuses the connection of a request with a
// larger body, the request is lost.
const retryBody = 256 << 10

// reselections is how often Envoy may ask the load balancer for an endpoint that
// it has not tried yet. The load balancer favours the endpoint with the fewest
// requests, which is one that refuses connections: of two endpoints it chooses
// that one three times out of four.
const reselections = 32

// retries is how many other endpoints Envoy tries. One is not enough: when pods
// are replaced, several may be gone before Envoy learns of the first.
const retries = 3

// retryPolicy tries another endpoint if the previous one cannot have begun to
// process the request. safeRetries adds to it for requests that are safe to
// execute twice.
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

// retriesFilter retries safe requests in cases in which others are not retried.
const retriesFilter = "fairway.retries"

// safeRetries retries requests with safe methods (RFC 9110, section 9.2.1)
// whenever the connection or the stream ends before a response begins. A virtual
// host's retry policy cannot depend on the method, so this filter sets a header.
// The router adds its value to the policy and removes it. Envoy has already
// removed such a header if the client sent it.
func safeRetries() *compositev3.Composite {
	safe := both(inHeader(":method", matching("GET|HEAD|OPTIONS")), not(anyOf(
		isThere("upgrade"),
		// Some backends take the method from these headers.
		isThere("x-http-method-override"), isThere("x-http-method"), isThere("x-method-override"),
	)))
	return &compositev3.Composite{Matcher: when(safe, execute("retry", &headerv3.HeaderMutation{
		Mutations: &headerv3.Mutations{RequestMutations: []*mutationv3.HeaderMutation{set("x-envoy-retry-on", "reset")}},
	}))}
}
