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

// Bounds on one downstream connection.
const (
	maxRequestsPerConnection = 10000
	maxConcurrentStreams     = 100
	streamWindow             = 64 << 10
	connectionWindow         = 1 << 20
)

// hostOfHTTP10 is what a backend sees as the host of a request that names none,
// as HTTP/1.0 allows. It is a name that nobody can own (RFC 6761).
const hostOfHTTP10 = "http-1-0.invalid"

// grpcWebFilter makes gRPC of what browsers can send of it, whatever the host: the
// route could not switch it on, for it is found too late for some hosts.
const grpcWebFilter = "envoy.filters.http.grpc_web"

// connectionManager speaks HTTP with clients, of which client may demand
// certificates.
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

// httpFilters are what a request passes, in order.
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
			// Those of each cluster, by code: the gateway keeps none of them, and
			// looking up that it does not takes time of each request.
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

// scopedRoutes must be equal in all connection managers: Envoy then keeps one
// set of tables.
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
	// Load balancers' health checks and old tools still speak HTTP/1.0; without
	// a host they get the default host.
	m.HttpProtocolOptions = &corev3.Http1ProtocolOptions{
		AcceptHttp_10: true, DefaultHostForHttp_10: hostOfHTTP10,
		// A method is the backend's: LIST, BAN and VERSION-CONTROL pass, as they do
		// over HTTP/2.
		AllowCustomMethods: true,
		// A protocol that is not spoken is as if it had not been asked for (RFC 9110,
		// section 7.8). It must be gone before Envoy reads on: what follows an upgrade
		// is no request to it.
		IgnoreHttp_11Upgrade: []*typematcherv3.StringMatcher{regexMatch(anythingBut(webSocket))},
		HeaderKeyFormat:      headerCase(s.HeaderCase),
	}
	m.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(maxConcurrentStreams),
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
		AllowConnect:                true,
		// One bad request among many of a proxy before us costs itself.
		OverrideStreamErrorOnInvalidHttpMessage: wrapperspb.Bool(true),
	}
}

// identify says who the client is, and which request this is.
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

// introduce has requests carry by what their client was verified, and who it is.
// Whatever a client itself says of that never gets here, in any chain.
func introduce(m *managerv3.HttpConnectionManager, client *route.ClientPolicy) {
	if client == nil {
		return // X-Forwarded-Client-Cert is thrown away
	}
	m.ForwardClientCertDetails = managerv3.HttpConnectionManager_SANITIZE_SET
	m.SetCurrentClientCertDetails = &managerv3.HttpConnectionManager_SetCurrentClientCertDetails{
		Subject: wrapperspb.Bool(true), Uri: true, Dns: true,
	}
	m.EarlyHeaderMutationExtensions = append(m.EarlyHeaderMutationExtensions, earlyMutation(&earlyv3.HeaderMutation{
		Mutations: []*mutationv3.HeaderMutation{set(clientHeader, literal(client.String()))},
	}))
}

// literal is text as a format string that says just that.
func literal(text string) string { return strings.ReplaceAll(text, "%", "%%") }

// purify gives a request's host and path one spelling, before anything looks
// at them.
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
