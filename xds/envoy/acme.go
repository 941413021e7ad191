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

// ACMECluster is a static cluster in Envoy's bootstrap. It leads to the
// controllers' TLS-ALPN-01 responder. An Envoy without this cluster closes
// TLS-ALPN-01 connections.
const ACMECluster = "fairway-acme"

// Limits for TLS-ALPN-01 connections. Anyone can open one; an authority makes one
// handshake and hangs up.
const (
	acmeProtocol    = "acme-tls/1"
	acmeName        = "acme" // name of the filter chain
	acmeConnections = 50     // per second, averaged over some seconds
	acmeBurst       = 200
	acmeIdle        = 5 * time.Second
	acmeLongest     = 10 * time.Second
)

// acmeChain passes connections that offer only TLS-ALPN-01 (RFC 8737) through to
// the responder. The chain is always present, because adding it with the first
// challenge would change the listener.
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
