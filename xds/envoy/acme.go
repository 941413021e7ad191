package envoy

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// ACMECluster is the static cluster of an Envoy's bootstrap that leads to the
// controllers' responder of TLS-ALPN-01. An Envoy without it closes the
// connections that would go there.
const ACMECluster = "fairway-acme"

// Bounds on connections of TLS-ALPN-01, which anybody can open: an authority
// makes one handshake, and hangs up.
const (
	acmeProtocol    = "acme-tls/1"
	acmeName        = "acme" // of the filter chain
	acmeConnections = 50     // a second, as an average over some seconds
	acmeBurst       = 200
	acmeIdle        = 5 * time.Second
	acmeLongest     = 10 * time.Second
)

// acmeChain passes connections that ask for nothing but TLS-ALPN-01 (RFC 8737),
// as they are, to who can answer. It is there from the start: a chain that came
// with a challenge would be a change of the listener.
func acmeChain() *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		Name: acmeName,
		Filters: []*listenerv3.Filter{
			networkFilter("envoy.filters.network.local_ratelimit", &ratelimitv3.LocalRateLimit{
				StatPrefix: "acme",
				TokenBucket: &typev3.TokenBucket{
					MaxTokens:     acmeBurst,
					TokensPerFill: wrapperspb.UInt32(acmeConnections),
					FillInterval:  durationpb.New(time.Second),
				},
			}),
			networkFilter("envoy.filters.network.tcp_proxy", &tcpproxyv3.TcpProxy{
				StatPrefix:                      "acme",
				ClusterSpecifier:                &tcpproxyv3.TcpProxy_Cluster{Cluster: ACMECluster},
				IdleTimeout:                     durationpb.New(acmeIdle),
				MaxDownstreamConnectionDuration: durationpb.New(acmeLongest),
				MaxConnectAttempts:              wrapperspb.UInt32(3),
			}),
		},
	}
}

func networkFilter(name string, config proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(config)}}
}
