package envoy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	quicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// http3 is the name of the HTTP/3 listener.
const http3 = "http3"

// alternativeAge is how many seconds a client remembers that the gateway speaks
// HTTP/3. Each answer renews it. After HTTP/3 is switched off, clients try it in
// vain for this long.
const alternativeAge = 3600

// Listed is a name in the HTTP/3 listener. route.AnyHost is the chain for all
// other names.
type Listed struct {
	Name route.Hostname
	// Served says that a host with exactly this name exists. Its connections do
	// without the filters that look for other hosts. These filters cost Envoy
	// half a megabyte per name, ten times as much as everything else.
	Served bool
}

// HTTP3Listener is the listener of HTTP/3. It has a chain for each name, with the
// secret ListedSecret. Envoy keeps the connections of the chains that do not
// change.
func HTTP3Listener(s route.Settings, names []Listed) Resource {
	address := socketAddress(s.Address, s.HTTPSPort)
	address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	address.GetSocketAddress().Ipv4Compat = s.Address == "::"
	listener := &listenerv3.Listener{
		Name:             http3,
		StatPrefix:       http3,
		TrafficDirection: corev3.TrafficDirection_INBOUND,
		Address:          address,
		EnableReusePort:  wrapperspb.Bool(true),
		UdpListenerConfig: &listenerv3.UdpListenerConfig{
			QuicOptions: &listenerv3.QuicProtocolOptions{
				QuicProtocolOptions:    quicOptions(),
				IdleTimeout:            duration(s.IdleTimeout),
				CryptoHandshakeTimeout: duration(handshake),
			},
			DownstreamSocketConfig: &corev3.UdpSocketConfig{PreferGro: wrapperspb.Bool(true)},
		},
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(connectionBuffer),
	}
	managers := map[bool]*anypb.Any{true: typed(http3Manager(s, true)), false: typed(http3Manager(s, false))}
	for _, listed := range names {
		name := listed.Name
		listener.FilterChains = append(listener.FilterChains, &listenerv3.FilterChain{
			Name:             hostName(name),
			FilterChainMatch: serverNameMatch(name),
			TransportSocket:  quicSocket(s, name),
			Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: managers[listed.Served]},
			}},
		})
	}
	return resource(listener)
}

// serverNameMatch is nil for the chain that takes all other names.
func serverNameMatch(name route.Hostname) *listenerv3.FilterChainMatch {
	if name == route.AnyHost {
		return nil
	}
	return &listenerv3.FilterChainMatch{ServerNames: []string{hostName(name)}}
}

// http3Manager is the connection manager of a chain. On a chain for a single
// host, Envoy answers 421 to requests for other hosts, so that the client sends
// them over another connection.
func http3Manager(s route.Settings, served bool) *managerv3.HttpConnectionManager {
	m := connectionManager(http3, nil, s)
	if served {
		m.HttpFilters = slices.DeleteFunc(m.GetHttpFilters(), func(f *managerv3.HttpFilter) bool {
			return f.GetName() == spellingFilter || f.GetName() == fallbackFilter
		})
		elsewhere := replyTo(sentence(http.StatusMisdirectedRequest), "NR")
		elsewhere.StatusCode = wrapperspb.UInt32(http.StatusMisdirectedRequest)
		m.EarlyHeaderMutationExtensions[0].TypedConfig = typed(withoutPort(requestHeaders(s)))
		m.LocalReplyConfig.Mappers = slices.Insert(m.GetLocalReplyConfig().GetMappers(), 0, elsewhere)
	}
	m.CodecType = managerv3.HttpConnectionManager_HTTP3
	m.HttpProtocolOptions, m.Http2ProtocolOptions = nil, nil
	m.Http3ProtocolOptions = &corev3.Http3ProtocolOptions{
		QuicProtocolOptions:                     quicOptions(),
		OverrideStreamErrorOnInvalidHttpMessage: wrapperspb.Bool(true),
		// Header values may hold octets beyond ASCII (RFC 9110, section 5.5), as
		// over the other protocols. Browsers send such cookies.
		DisallowObsText: wrapperspb.Bool(false),
	}
	return m
}

// withoutPort strips the port from the host by which Envoy looks for routes, if
// the host is that of the connection; on other chains a filter does so. CEL
// cannot concatenate strings here, so the header first holds the text to compare
// with.
func withoutPort(headers *earlyv3.HeaderMutation) *earlyv3.HeaderMutation {
	const host = `%CEL(request.headers[':authority'].startsWith(request.headers['` + hostHeader + `']) ? ` +
		`connection.requested_server_name : request.headers[':authority'])%`
	headers.Mutations = append(headers.GetMutations(), set(hostHeader, "%REQUESTED_SERVER_NAME%:"), set(hostHeader, host))
	return headers
}

// quicOptions limit what one connection may cost, as for HTTP/2.
func quicOptions() *corev3.QuicProtocolOptions {
	return &corev3.QuicProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(maxConcurrentStreams),
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
	}
}

// quicSocket encrypts with the certificate of a name. As over TCP, it does not
// resume sessions. So there is no early data either, which an attacker could
// replay.
func quicSocket(s route.Settings, name route.Hostname) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.quic",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(&quicv3.QuicDownstreamTransport{
			DownstreamTlsContext: &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsParams: &tlsv3.TlsParameters{EcdhCurves: tlsParameters(s.TLS).GetEcdhCurves()},
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{
					Name: ListedSecret(name), SdsConfig: ads(),
				}},
			}},
			EnableEarlyData:  wrapperspb.Bool(false),
			EnableResumption: wrapperspb.Bool(false),
		})},
	}
}

// listedPrefix begins the names of secrets that a listener names. Other secrets
// have the name that a client sent as SNI, which cannot hold a zero byte.
const listedPrefix = "listed\x00"

// ListedSecret is the name of the secret for a name in the HTTP/3 listener.
func ListedSecret(name route.Hostname) string { return listedPrefix + string(name) }

// ListedName is the inverse of ListedSecret.
func ListedName(secret string) (route.Hostname, bool) {
	name, ok := strings.CutPrefix(secret, listedPrefix)
	return route.Hostname(name), ok
}

// alternativeFilter tells clients over HTTPS that the gateway speaks HTTP/3.
const alternativeFilter = "fairway.alternative"

// alternative overwrites the header of a backend, which does not know the
// gateway's ports.
func alternative(s route.Settings) *headermutationv3.HeaderMutation {
	service := `h3=":` + strconv.Itoa(int(s.PublicHTTP3())) + `"; ma=` + strconv.Itoa(alternativeAge)
	return &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{
		ResponseMutations: []*mutationv3.HeaderMutation{set("alt-svc", service)},
	}}
}
