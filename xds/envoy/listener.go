package envoy

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	sniv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// connectionBuffer is how many bytes Envoy buffers per connection and direction
// before it stops reading. It limits the memory that a slow peer costs. It equals
// the window of an HTTP/2 stream, so that one stream can fill it.
const connectionBuffer = 64 << 10

const (
	// backlog is how many connections may wait for a worker to accept them. The
	// kernel has its own limit (net.core.somaxconn), with the same default.
	backlog = 4096
	// handshake limits a TLS handshake, which may have to wait until Envoy has
	// fetched a certificate.
	handshake = 10 * time.Second
)

// The names of the listeners.
const (
	HTTP  = "http"
	HTTPS = "https"
)

// Listeners are the HTTP and HTTPS listeners of a gateway. Envoy drains all
// connections of a listener that changes, so a listener holds little but
// settings. Server names whose connections are treated differently from those of
// all others (route.AnyHost, or the zero Chain) have filter chains of their own.
// A change of these chains, or of their names, does not drain other chains.
func Listeners(s route.Settings, chains map[route.Hostname]route.Chain) []Resource {
	var listeners []Resource
	if s.HTTPPort != 0 {
		http := listener(HTTP, s.HTTPPort, s)
		http.FilterChains = []*listenerv3.FilterChain{filterChain(HTTP, nil, nil, s)}
		http.FilterChains[0].FilterChainMatch = filterChainMatch(s)
		listeners = append(listeners, resource(http))
	}
	if s.HTTPSPort != 0 {
		https := listener(HTTPS, s.HTTPSPort, s)
		https.ListenerFilters = append(https.ListenerFilters, tlsInspector())
		https.ListenerFiltersTimeout = duration(handshake)
		https.FilterChains = filterChains(s, chains)
		https.FilterChainMatcher = connectionMatcher(s, chains)
		listeners = append(listeners, resource(https))
	}
	return listeners
}

func listener(name string, port uint16, s route.Settings) *listenerv3.Listener {
	address := socketAddress(s.Address, port)
	address.GetSocketAddress().Ipv4Compat = s.Address == "::"
	return &listenerv3.Listener{
		Name:             name,
		StatPrefix:       name,
		TrafficDirection: corev3.TrafficDirection_INBOUND,
		Address:          address,
		EnableReusePort:  wrapperspb.Bool(true),
		TcpKeepalive:     tcpKeepalive(),
		TcpBacklogSize:   wrapperspb.UInt32(backlog),

		PerConnectionBufferLimitBytes: wrapperspb.UInt32(connectionBuffer),
		ListenerFilters:               listenerFilters(s),
	}
}

// tlsInspector reads SNI and ALPN from the ClientHello, by which the matcher
// chooses a chain.
func tlsInspector() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: typed(&inspectorv3.TlsInspector{})},
	}
}

// filterChain terminates TLS, if any, and speaks HTTP.
func filterChain(name string, tls *tlsv3.DownstreamTlsContext, client *route.ClientPolicy, s route.Settings) *listenerv3.FilterChain {
	chain := &listenerv3.FilterChain{
		Name: name,
		// No other timeout covers a handshake that stalls.
		TransportSocketConnectTimeout: duration(handshake),
	}
	prefix := HTTP
	if tls != nil {
		prefix = HTTPS
		chain.TransportSocket = transportSocket(tls)
	}
	chain.Filters = []*listenerv3.Filter{
		networkFilter("envoy.filters.network.http_connection_manager", connectionManager(prefix, client, s)),
	}
	return chain
}

// NoServerName is the name of the secret for clients that send no server name. A
// client cannot send it as a server name. "*" would not do: in xDS it means all
// secrets.
const NoServerName = "no server name"

// downstreamTLS chooses the certificate by SNI: Envoy requests the secret of that
// name at the first handshake. Envoy requires that session resumption is
// disabled, because a session would outlive the choice.
func downstreamTLS(t route.TLS, c route.Chain) *tlsv3.DownstreamTlsContext {
	tls := &tlsv3.DownstreamTlsContext{
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams:     tlsParameters(t),
			AlpnProtocols: applicationProtocols(t),
			CustomTlsCertificateSelector: &corev3.TypedExtensionConfig{
				Name: "envoy.tls.certificate_selectors.on_demand_secret",
				TypedConfig: typed(&ondemandv3.Config{
					ConfigSource: ads(),
					CertificateMapper: &corev3.TypedExtensionConfig{
						Name:        "envoy.tls.certificate_mappers.sni",
						TypedConfig: typed(&sniv3.SNI{DefaultValue: NoServerName}),
					},
				}),
			},
		},
		DisableStatefulSessionResumption: true,
		SessionTicketKeysType: &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{
			DisableStatelessSessionResumption: true,
		},
	}
	authenticate(tls, c)
	return tls
}

func transportSocket(tls proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(tls)},
	}
}
