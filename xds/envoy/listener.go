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

// connectionBuffer is how many bytes Envoy keeps of one connection in one
// direction before it stops reading. It bounds what a slow peer costs; it is an
// HTTP/2 stream's window, so that one stream can fill it.
const connectionBuffer = 64 << 10

const (
	// backlog is how many connections may wait for a worker to accept them. The
	// kernel has a bound of its own, which is as large where nobody changed it.
	backlog = 4096
	// handshake is how long one of TLS may take, which may have to wait for a
	// certificate to be asked for.
	handshake = 10 * time.Second
)

// The names of the listeners.
const (
	HTTP  = "http"
	HTTPS = "https"
)

// Listeners are the listeners of a gateway, HTTP and HTTPS. A changed listener
// drains its connections. So what is not a setting is in them only where it must
// be: server names whose connections are treated otherwise than those of all
// others (route.AnyHost, or the zero Chain) have filter chains of their own, and
// a change of these, or of which names they have, drains no others.
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

// tlsInspector reads from the first message of a client what chains are chosen
// by.
func tlsInspector() *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: typed(&inspectorv3.TlsInspector{})},
	}
}

// filterChain is one in which TLS, if there is any, ends, and HTTP is spoken.
func filterChain(name string, tls *tlsv3.DownstreamTlsContext, client *route.ClientPolicy, s route.Settings) *listenerv3.FilterChain {
	chain := &listenerv3.FilterChain{
		Name: name,
		// Nothing else bounds a handshake that does not go on.
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

// NoServerName is the name of the secret for clients that send no server name.
// No client can send it as one; and "*" would mean all secrets to a server.
const NoServerName = "no server name"

// downstreamTLS chooses the certificate by SNI: the secret of that very name
// is asked for at its first handshake. Envoy demands that sessions are not
// resumed, because a session would outlive the choice.
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
