package envoy

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// Limits for one downstream connection.
const (
	maxRequestsPerConnection = 10000
	maxConcurrentStreams     = 100
	streamWindow             = 64 << 10
	connectionWindow         = 1 << 20
)

// hostOfHTTP10 is the host that a backend sees if a request names none, as
// HTTP/1.0 allows. No one can own this name (RFC 6761).
const hostOfHTTP10 = "http-1-0.invalid"

// grpcWebFilter translates gRPC-Web, which browsers send, into gRPC for every
// host. The route cannot enable it, because for some hosts Envoy finds the route
// too late.
const grpcWebFilter = "envoy.filters.http.grpc_web"

// connectionManager speaks HTTP with clients. A client policy, if any, demands
// client certificates.
func connectionManager(name string, client *route.ClientPolicy, s route.Settings) *managerv3.HttpConnectionManager {
	m := &managerv3.HttpConnectionManager{
		StatPrefix:       name,
		CodecType:        managerv3.HttpConnectionManager_AUTO,
		RouteSpecifier:   scopedRoutes(),
		HttpFilters:      httpFilters(client, s),
		UpgradeConfigs:   []*managerv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: webSocket}},
		AccessLog:        append(accessLog(s), requestStats()...),
		LocalReplyConfig: localReplies(),
	}
	if name == HTTPS && client == nil && s.TLS.HTTP3 {
		m.HttpFilters = slices.Insert(m.HttpFilters, 0, filter(alternativeFilter, alternative(s)))
	}
	sign(m, s)
	bound(m, s)
	identify(m, name, s)
	introduce(m, client)
	underscore(m, s)
	purify(m, s)
	return m
}

// httpFilters are the filters that a request passes, in order.
func httpFilters(client *route.ClientPolicy, s route.Settings) []*managerv3.HttpFilter {
	filters := []*managerv3.HttpFilter{
		filter(refusalsFilter, refusals()),
		filter(spellingFilter, lua(spellingScript)),
		filter(fallbackFilter, lua(fallbackScript)),
		filter(slashesFilter, slashes(s)),
	}
	if s.GRPCWeb {
		filters = append(filters, filter(grpcWebFilter, &grpcwebv3.GrpcWeb{}))
	}
	if client != nil {
		filters = append(filters, filter(clientFilter, lua(clientScript)))
	}
	return append(filters,
		filter(bodyLimitFilter, bodyLimit(s.MaxRequestBody)),
		filter(retriesFilter, safeRetries()),
		filter(unaskedFilter, unasked()),
		filter(connectionsFilter, connections()),
		filter("envoy.filters.http.router", &routerv3.Router{
			SuppressEnvoyHeaders: true,
			// The router's counters per cluster and code are off: the gateway
			// keeps none of them, and looking them up would take time for each
			// request.
			DynamicStats: wrapperspb.Bool(false),
		}),
	)
}

func filter(name string, config proto.Message) *managerv3.HttpFilter {
	return &managerv3.HttpFilter{
		Name:       name,
		ConfigType: &managerv3.HttpFilter_TypedConfig{TypedConfig: typed(config)},
	}
}

// scopedRoutes must be equal in all connection managers, so that Envoy keeps only
// one set of tables.
func scopedRoutes() *managerv3.HttpConnectionManager_ScopedRoutes {
	return &managerv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &managerv3.ScopedRoutes{
		Name: "hosts",
		ScopeKeyBuilder: &managerv3.ScopedRoutes_ScopeKeyBuilder{
			Fragments: []*managerv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
				Type: &managerv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
					HeaderValueExtractor: &managerv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
						Name: hostHeader,
						ExtractType: &managerv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{
							Index: 0,
						},
					},
				},
			}},
		},
		RdsConfigSource: ads(),
		ConfigSpecifier: &managerv3.ScopedRoutes_ScopedRds{
			ScopedRds: &managerv3.ScopedRds{ScopedRdsConfigSource: ads()},
		},
	}}
}

// bound limits what one connection may cost.
func bound(m *managerv3.HttpConnectionManager, s route.Settings) {
	m.MaxRequestHeadersKb = wrapperspb.UInt32(headersKb(s.MaxRequestHeaders))
	m.StreamIdleTimeout = duration(s.StreamIdleTimeout)
	m.RequestHeadersTimeout = duration(s.RequestHeadersTimeout)
	m.RequestTimeout = duration(s.RequestTimeout)
	m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{
		IdleTimeout:              duration(s.IdleTimeout),
		MaxHeadersCount:          wrapperspb.UInt32(max(s.MaxRequestHeaderCount, 1)),
		MaxRequestsPerConnection: wrapperspb.UInt32(maxRequestsPerConnection),
	}
	// Health checks of load balancers and old tools still speak HTTP/1.0. A
	// request without a host gets the default host.
	m.HttpProtocolOptions = &corev3.Http1ProtocolOptions{
		AcceptHttp_10: true, DefaultHostForHttp_10: hostOfHTTP10,
		// The backend judges the method: LIST, BAN and VERSION-CONTROL pass, as
		// they do over HTTP/2.
		AllowCustomMethods: true,
		// Envoy ignores an upgrade to a protocol that it does not speak (RFC
		// 9110, section 7.8). It must drop the header before it reads on, because
		// it would not parse the bytes after an upgrade as a request.
		IgnoreHttp_11Upgrade: []*typematcherv3.StringMatcher{regexMatch(anythingBut(webSocket))},
		HeaderKeyFormat:      headerCase(s.HeaderCase),
	}
	m.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(maxConcurrentStreams),
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
		AllowConnect:                true,
		// A malformed request resets its own stream only: a proxy in front of the
		// gateway sends many over one connection.
		OverrideStreamErrorOnInvalidHttpMessage: wrapperspb.Bool(true),
	}
}

// identify determines the client's address and the request id.
func identify(m *managerv3.HttpConnectionManager, listener string, s route.Settings) {
	m.UseRemoteAddress = wrapperspb.Bool(true)
	m.XffNumTrustedHops = s.TrustedHops
	m.GenerateRequestId = wrapperspb.Bool(true)
	m.PreserveExternalRequestId = true
	m.RequestIdExtension = &managerv3.RequestIDExtension{TypedConfig: typed(&uuidv3.UuidRequestIdConfig{
		PackTraceReason:              wrapperspb.Bool(false),
		UseRequestIdForTraceSampling: wrapperspb.Bool(false),
	})}
	m.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{
		earlyMutation(requestHeaders(s)), earlyMutation(forwardedPort(listener, s)),
	}
}

func earlyMutation(headers *earlyv3.HeaderMutation) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{
		Name:        "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: typed(headers),
	}
}

// introduce adds headers that say by which policy Envoy verified the client, and
// the client's identity. Every chain removes such headers if the client sent
// them.
func introduce(m *managerv3.HttpConnectionManager, client *route.ClientPolicy) {
	if client == nil {
		return // X-Forwarded-Client-Cert is removed
	}
	m.ForwardClientCertDetails = managerv3.HttpConnectionManager_SANITIZE_SET
	m.SetCurrentClientCertDetails = &managerv3.HttpConnectionManager_SetCurrentClientCertDetails{
		Subject: wrapperspb.Bool(true), Uri: true, Dns: true,
	}
	m.EarlyHeaderMutationExtensions = append(m.EarlyHeaderMutationExtensions, earlyMutation(&earlyv3.HeaderMutation{
		Mutations: []*mutationv3.HeaderMutation{set(clientHeader, literal(client.String()))},
	}))
}

// literal escapes text for use in a format string.
func literal(text string) string { return strings.ReplaceAll(text, "%", "%%") }

// purify normalises the host and path of a request before any filter sees them.
func purify(m *managerv3.HttpConnectionManager, s route.Settings) {
	m.NormalizePath = wrapperspb.Bool(true)
	switch s.EscapedSlashes {
	case route.EscapedSlashesReject:
		m.PathWithEscapedSlashesAction = managerv3.HttpConnectionManager_REJECT_REQUEST
	case route.EscapedSlashesKeep:
		m.PathWithEscapedSlashesAction = managerv3.HttpConnectionManager_KEEP_UNCHANGED
	default:
		m.PathWithEscapedSlashesAction = managerv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT
	}
}
