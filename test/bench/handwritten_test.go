package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"sigs.k8s.io/yaml"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3" // named by handwritten.yaml
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"   // likewise
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/gateway"
)

// handwritten writes the bootstrap of an Envoy that asks nobody for anything:
// testdata/handwritten.yaml with hosts that lead to a backend. What it shares with
// Fairway's Envoys is the rest of the bootstrap: statistics and overload. With
// secure, which may be nil, a second listener serves the same over TLS. With
// statistics, it keeps all that Envoy does unless it is told otherwise.
func handwritten(b *testing.B, dir string, port uint32, hosts int, secure *tlsv3.DownstreamTlsContext, statistics bool) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "handwritten.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	if text, err = yaml.YAMLToJSON(text); err != nil {
		b.Fatal(err)
	}
	listener := &listenerv3.Listener{}
	if err := protojson.Unmarshal(text, listener); err != nil {
		b.Fatal(err)
	}
	listener.GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: port}
	editManager(b, listener, func(m *managerv3.HttpConnectionManager) {
		for i := range hosts {
			m.GetRouteConfig().VirtualHosts = append(m.GetRouteConfig().VirtualHosts, virtualHost(i))
		}
	})
	message, err := gateway.Bootstrap{
		Gateway: "handwritten", Node: "handwritten", Admin: filepath.Join(dir, "admin"),
		XDS: gateway.XDS{Socket: "none"},
	}.Message(dir)
	if err != nil {
		b.Fatal(err)
	}
	message.DynamicResources = nil
	if statistics {
		message.StatsConfig, message.StatsEviction, message.DeferredStatOptions = nil, nil, nil
	}
	message.StaticResources = &bootstrapv3.Bootstrap_StaticResources{Listeners: []*listenerv3.Listener{listener}}
	if secure != nil {
		https := proto.Clone(listener).(*listenerv3.Listener)
		https.Name = "https"
		https.GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: port + securePorts}
		https.GetFilterChains()[0].TransportSocket = &corev3.TransportSocket{
			Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(b, secure)},
		}
		message.StaticResources.Listeners = append(message.StaticResources.Listeners, https)
	}
	for i := range hosts {
		message.StaticResources.Clusters = append(message.StaticResources.Clusters, staticCluster(b, i))
	}
	path := filepath.Join(dir, "handwritten.json")
	if text, err = protojson.Marshal(message); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// editManager changes the connection manager of a listener.
func editManager(b *testing.B, listener *listenerv3.Listener, edit func(*managerv3.HttpConnectionManager)) {
	b.Helper()
	filter := listener.GetFilterChains()[0].GetFilters()[0]
	manager := &managerv3.HttpConnectionManager{}
	if err := filter.GetTypedConfig().UnmarshalTo(manager); err != nil {
		b.Fatal(err)
	}
	edit(manager)
	filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(b, manager)}
}

func pack(b *testing.B, message proto.Message) *anypb.Any {
	b.Helper()
	packed, err := anypb.New(message)
	if err != nil {
		b.Fatal(err)
	}
	return packed
}

func clusterOf(i int) string { return fmt.Sprintf("site-%d", i) }

func virtualHost(i int) *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name: host(i), Domains: []string{host(i)},
		Routes: []*routev3.Route{{
			Name:  "default/" + clusterOf(i),
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: clusterOf(i)},
				Timeout:          durationpb.New(0),
			}},
		}},
		RetryPolicy: &routev3.RetryPolicy{
			RetryOn: "connect-failure,refused-stream,reset-before-request", NumRetries: wrapperspb.UInt32(1),
		},
	}
}

func staticCluster(b *testing.B, i int) *clusterv3.Cluster {
	b.Helper()
	const limit = 65536
	return &clusterv3.Cluster{
		Name:                 clusterOf(i),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(2 * time.Second),
		LbPolicy:             clusterv3.Cluster_LEAST_REQUEST,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: wrapperspb.UInt32(limit), MaxPendingRequests: wrapperspb.UInt32(limit), MaxRequests: wrapperspb.UInt32(limit),
		}}},
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(limit),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(b, &upstreamv3.HttpProtocolOptions{
				CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(4 * time.Second)},
				UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
							HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
						},
					},
				},
			}),
		},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: clusterOf(i),
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
						Address: rawAddress(i), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: fairway.BackendPort},
					}}},
				}},
			}}}},
		},
	}
}
