package envoy

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
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

// HTTP3Listener is the listener of HTTP/3: a chain for each name, whose secret is
// that of ListedSecret, and for route.AnyHost one for clients that none of the
// others is for. Envoy keeps the connections of the chains that do not change.
func HTTP3Listener(s route.Settings, names []route.Hostname) Resource {
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
	manager := typed(http3Manager(s))
	for _, name := range names {
		listener.FilterChains = append(listener.FilterChains, &listenerv3.FilterChain{
			Name:             hostName(name),
			FilterChainMatch: serverNameMatch(name),
			TransportSocket:  quicSocket(s, name),
			Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: manager},
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

func http3Manager(s route.Settings) *managerv3.HttpConnectionManager {
	m := connectionManager(http3, nil, s)
	m.CodecType = managerv3.HttpConnectionManager_HTTP3
	m.HttpProtocolOptions, m.Http2ProtocolOptions = nil, nil
	m.Http3ProtocolOptions = &corev3.Http3ProtocolOptions{
		QuicProtocolOptions:                     quicOptions(),
		AllowExtendedConnect:                    true,
		OverrideStreamErrorOnInvalidHttpMessage: wrapperspb.Bool(true),
	}
	return m
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
	service := `h3=":` + strconv.Itoa(int(redirectPort(s))) + `"; ma=` + strconv.Itoa(alternativeAge)
	return &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{
		ResponseMutations: []*mutationv3.HeaderMutation{set("alt-svc", service)},
	}}
}
