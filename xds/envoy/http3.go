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

// http3 is the name of the listener of HTTP/3.
const http3 = "http3"

// alternativeAge is for how many seconds a client remembers that there is HTTP/3.
// Each answer says it anew; after HTTP/3 is switched off clients try it in vain for
// so long.
const alternativeAge = 3600

// Listed is a name in the listener of HTTP/3; route.AnyHost is for clients that
// no other is for.
type Listed struct {
	Name route.Hostname
	// Served says that there is a host of that very name. Its connections do
	// without the filters that look for others, which cost Envoy ten times as much
	// as all the rest: half a megabyte a name.
	Served bool
}

// HTTP3Listener is the listener of HTTP/3: a chain for each name, whose secret is
// that of ListedSecret. Envoy keeps the connections of the chains that do not change.
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

// serverNameMatch is nil for what no other chain is for.
func serverNameMatch(name route.Hostname) *listenerv3.FilterChainMatch {
	if name == route.AnyHost {
		return nil
	}
	return &listenerv3.FilterChainMatch{ServerNames: []string{hostName(name)}}
}

// http3Manager is that of a chain. One that is for a host alone sends requests for
// what it does not find to another connection, where it is looked for (421).
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
		// Values of headers may hold octets beyond ASCII (RFC 9110, section 5.5), as
		// they may over the other protocols. Browsers send such cookies.
		DisallowObsText: wrapperspb.Bool(false),
	}
	return m
}

// withoutPort has requests look for their host without the port, where that is the
// host of the connection; elsewhere a filter does so. The language of expressions
// joins no texts, so that the header holds what is compared first.
func withoutPort(headers *earlyv3.HeaderMutation) *earlyv3.HeaderMutation {
	const host = `%CEL(request.headers[':authority'].startsWith(request.headers['` + hostHeader + `']) ? ` +
		`connection.requested_server_name : request.headers[':authority'])%`
	headers.Mutations = append(headers.GetMutations(), set(hostHeader, "%REQUESTED_SERVER_NAME%:"), set(hostHeader, host))
	return headers
}

// quicOptions bound what one connection may cost, as for HTTP/2.
func quicOptions() *corev3.QuicProtocolOptions {
	return &corev3.QuicProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(maxConcurrentStreams),
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
	}
}

// quicSocket encrypts with the certificate of a name. Sessions are not resumed,
// as over TCP, so that there is no early data either, which could be replayed.
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

// listedPrefix begins the names of secrets that a listener names. A secret may
// also have the name that a client sent; that cannot hold a zero byte.
const listedPrefix = "listed\x00"

// ListedSecret is the name of the secret of a name in the listener of HTTP/3.
func ListedSecret(name route.Hostname) string { return listedPrefix + string(name) }

// ListedName is the inverse of ListedSecret.
func ListedName(secret string) (route.Hostname, bool) {
	name, ok := strings.CutPrefix(secret, listedPrefix)
	return route.Hostname(name), ok
}

// alternativeFilter tells clients of HTTPS that there is HTTP/3.
const alternativeFilter = "fairway.alternative"

// alternative overwrites what a backend says: it knows of no port of ours.
func alternative(s route.Settings) *headermutationv3.HeaderMutation {
	service := `h3=":` + strconv.Itoa(int(s.PublicHTTP3())) + `"; ma=` + strconv.Itoa(alternativeAge)
	return &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{
		ResponseMutations: []*mutationv3.HeaderMutation{set("alt-svc", service)},
	}}
}
