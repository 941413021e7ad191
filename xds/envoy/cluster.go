package envoy

import (
	"cmp"
	"net/url"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// Limits for one cluster in one Envoy. They are far above the load of a healthy
// backend, and low enough that a hanging backend cannot use up all sockets.
const (
	maxUpstreamConnections = 16384
	maxUpstreamRequests    = 65536
	maxUpstreamRetries     = 1024
)

// Cluster is a Service port and the way Envoy connects to its endpoints.
func Cluster(c route.Cluster, s route.Settings) Resource {
	cluster := &clusterv3.Cluster{
		Name:                          ClusterName(c),
		ConnectTimeout:                duration(connectTimeout(c, s)),
		LbPolicy:                      clusterv3.Cluster_LEAST_REQUEST,
		CircuitBreakers:               circuitBreakers(),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(connectionBuffer),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(upstreamHTTP(c, s)),
		},
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: tcpKeepalive()},
		UpstreamBindConfig:        &corev3.BindConfig{SocketOptions: []*corev3.SocketOption{tcpUserTimeout()}},
		TransportSocket:           upstreamTLS(c),
	}
	if s.OutlierDetection.Enabled && !c.EndpointsStay {
		cluster.OutlierDetection = outlierDetection(connectTimeout(c, s), s.OutlierDetection)
		cluster.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: leastHealthy}}
	}
	if c.PerClient {
		separate(cluster)
	}
	if c.DNS != "" {
		resolve(cluster, c)
	} else {
		cluster.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		cluster.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{
			EdsConfig:   ads(),
			ServiceName: EndpointsName(c.Port),
		}
	}
	return resource(cluster)
}

// SameClusters reports whether both settings render every cluster alike.
func SameClusters(a, b route.Settings) bool {
	return a.OutlierDetection == b.OutlierDetection && a.ConnectTimeout == b.ConnectTimeout && a.UpstreamIdleTimeout == b.UpstreamIdleTimeout &&
		a.HeaderCase == b.HeaderCase &&
		a.MaxResponseHeaders == b.MaxResponseHeaders && a.MaxResponseHeaderCount == b.MaxResponseHeaderCount &&
		a.LocalBackends == b.LocalBackends
}

func circuitBreakers() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections:     wrapperspb.UInt32(maxUpstreamConnections),
		MaxPendingRequests: wrapperspb.UInt32(maxUpstreamRequests),
		MaxRequests:        wrapperspb.UInt32(maxUpstreamRequests),
		MaxRetries:         wrapperspb.UInt32(maxUpstreamRetries),
	}}}
}

// resolve makes a cluster of an ExternalName Service. Every address of the name
// is an endpoint, for the TTL that DNS gives. A name that does not resolve does
// not keep Envoy from starting.
func resolve(cluster *clusterv3.Cluster, c route.Cluster) {
	cluster.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{
		ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.cluster.dns",
			TypedConfig: typed(&dnsv3.DnsCluster{
				DnsRefreshRate: duration(30 * time.Second),
				DnsFailureRefreshRate: &dnsv3.DnsCluster_RefreshRate{
					BaseInterval: duration(time.Second),
					MaxInterval:  duration(10 * time.Second),
				},
				RespectDnsTtl:   true,
				DnsLookupFamily: commondnsv3.DnsLookupFamily_V4_PREFERRED,
			}),
		},
	}
	cluster.WaitForWarmOnInit = wrapperspb.Bool(false)
	cluster.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: cluster.Name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: socketAddress(dnsName(c.DNS), uint16(cmp.Or(c.DNSPort, c.Port.Port))),
				}},
			}},
		}},
	}
}

// dnsName escapes characters that DNS names cannot hold, so that an invalid name
// simply does not resolve.
func dnsName(name string) string { return url.PathEscape(name) }

func upstreamHTTP(c route.Cluster, s route.Settings) *upstreamv3.HttpProtocolOptions {
	options := &upstreamv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:          duration(s.UpstreamIdleTimeout),
			MaxHeadersCount:      wrapperspb.UInt32(max(s.MaxResponseHeaderCount, 1)),
			MaxResponseHeadersKb: wrapperspb.UInt32(headersKb(s.MaxResponseHeaders)),
		},
	}
	if c.DNS != "" && !s.LocalBackends {
		options.HttpFilters = refuseLocal()
	}
	if c.Protocol == route.HTTPAuto && c.TLS {
		options.UpstreamProtocolOptions = &upstreamv3.HttpProtocolOptions_AutoConfig{
			AutoConfig: &upstreamv3.HttpProtocolOptions_AutoHttpConfig{
				HttpProtocolOptions:  &corev3.Http1ProtocolOptions{HeaderKeyFormat: headerCase(s.HeaderCase)},
				Http2ProtocolOptions: upstreamHTTP2(s),
			},
		}
		return options
	}
	explicit := &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{HeaderKeyFormat: headerCase(s.HeaderCase)},
		},
	}
	if c.Protocol == route.HTTP2 {
		explicit.ProtocolConfig = &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: upstreamHTTP2(s),
		}
	}
	options.UpstreamProtocolOptions = &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}
	return options
}

// Envoy's limits for the size of one HTTP/2 header field, in KiB.
const leastHeaderField, mostHeaderField = 64, 256

// upstreamHTTP2 lets one header field be as large as all headers may be together,
// within Envoy's limit.
func upstreamHTTP2(s route.Settings) *corev3.Http2ProtocolOptions {
	options := &corev3.Http2ProtocolOptions{
		// A malformed response resets its own stream and leaves the others of the
		// connection.
		OverrideStreamErrorOnInvalidHttpMessage: wrapperspb.Bool(true),
	}
	if s.MaxResponseHeaders >= leastHeaderField { // it may not exceed the limit for all headers
		options.MaxHeaderFieldSizeKb = wrapperspb.UInt32(min(s.MaxResponseHeaders, mostHeaderField))
	}
	return options
}

// headersKb clamps a header limit to the range that Envoy accepts.
func headersKb(kib uint32) uint32 { return min(max(kib, 1), 8192) }
