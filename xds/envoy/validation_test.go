package envoy_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/fairwaynet/fairway/test/tools"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// validation is a bootstrap that holds all that was rendered, statically, for
// `envoy --mode validate`, which fetches nothing.
type validation struct {
	t         testing.TB
	bootstrap *bootstrapv3.Bootstrap
	clusters  map[string]bool
	listeners int
}

func newValidation(t testing.TB) *validation {
	v := &validation{t: t, clusters: make(map[string]bool), bootstrap: &bootstrapv3.Bootstrap{}}
	if err := protojson.Unmarshal(bootstrap(t.TempDir(), netip.AddrPort{}), v.bootstrap); err != nil {
		t.Fatal(err)
	}
	return v
}

// add shows the rendering of a case.
func (v *validation) add(s route.Settings, hosts []*route.Host, clusters []route.Cluster, backends []route.Backend, listeners bool,
	chains map[route.Hostname]route.Chain,
) {
	for _, c := range clusters {
		rendered := message[*clusterv3.Cluster](v.t, envoy.Cluster(c, s))
		v.withoutSDS(rendered, c)
		v.cluster(rendered)
	}
	for _, b := range backends {
		load := message[*endpointv3.ClusterLoadAssignment](v.t, envoy.Endpoints(b))
		v.cluster(&clusterv3.Cluster{
			Name:                 "endpoints of " + load.GetClusterName(),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			LoadAssignment:       load,
		})
	}
	if len(hosts) > 0 {
		v.hosts(s, hosts)
	}
	if listeners {
		for _, l := range envoy.Listeners(s, chains) {
			v.listener(l, nil)
		}
	}
}

// withoutSDS makes the authority of a cluster a static secret: Envoy crashes when
// it validates a static cluster with a secret that comes by ADS.
func (v *validation) withoutSDS(rendered *clusterv3.Cluster, c route.Cluster) {
	if rendered.GetTransportSocket() == nil || c.Authority == (route.Authority{}) {
		return
	}
	tls := &tlsv3.UpstreamTlsContext{}
	if err := rendered.GetTransportSocket().GetTypedConfig().UnmarshalTo(tls); err != nil {
		v.t.Fatal(err)
	}
	secret := message[*tlsv3.Secret](v.t, envoy.Authority(c.Authority, nil))
	secret.Name = "who vouches for " + rendered.GetName()
	from := tls.GetCommonTlsContext().GetCombinedValidationContext().GetValidationContextSdsSecretConfig()
	from.Name, from.SdsConfig = secret.GetName(), nil
	packed, err := anypb.New(tls)
	if err != nil {
		v.t.Fatal(err)
	}
	rendered.TransportSocket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: packed}
	if !v.clusters[rendered.GetName()] {
		v.bootstrap.StaticResources.Secrets = append(v.bootstrap.StaticResources.Secrets, secret)
	}
}

func (v *validation) cluster(c *clusterv3.Cluster) {
	if !v.clusters[c.GetName()] {
		v.clusters[c.GetName()] = true
		v.bootstrap.StaticResources.Clusters = append(v.bootstrap.StaticResources.Clusters, c)
	}
}

// hosts checks scopes, and the routes that they lead to, as an inline list.
func (v *validation) hosts(s route.Settings, hosts []*route.Host) {
	list := &managerv3.ScopedRouteConfigurationsList{}
	for _, h := range hosts {
		routes := envoy.RouteConfiguration(envoy.ShardOf(h.Key.Host), [][]byte{envoy.VirtualHost(h, route.Settings{})})
		scope := message[*routev3.ScopedRouteConfiguration](v.t, envoy.Scope(h.Key.Host))
		scope.RouteConfigurationName = ""
		scope.RouteConfiguration = message[*routev3.RouteConfiguration](v.t, routes)
		list.ScopedRouteConfigurations = append(list.ScopedRouteConfigurations, scope)
	}
	v.listener(envoy.Listeners(s, nil)[0], list)
}

// listener adds a listener under a name of its own, with inline scopes if
// there are any.
func (v *validation) listener(r envoy.Resource, scopes *managerv3.ScopedRouteConfigurationsList) {
	l := message[*listenerv3.Listener](v.t, r)
	m := connectionManager(v.t, l)
	if scopes != nil {
		m.GetScopedRoutes().RdsConfigSource = nil
		m.GetScopedRoutes().ConfigSpecifier = &managerv3.ScopedRoutes_ScopedRouteConfigurationsList{
			ScopedRouteConfigurationsList: scopes,
		}
	}
	packed, err := anypb.New(m)
	if err != nil {
		v.t.Fatal(err)
	}
	v.listeners++
	l.Name = fmt.Sprint(v.listeners)
	l.Address = &corev3.Address{Address: &corev3.Address_Pipe{
		Pipe: &corev3.Pipe{Path: filepath.Join(v.t.TempDir(), "socket")},
	}}
	l.EnableReusePort, l.TcpKeepalive = nil, nil // a pipe has neither
	l.FilterChains[0].Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
	v.bootstrap.StaticResources.Listeners = append(v.bootstrap.StaticResources.Listeners, l)
}

func connectionManager(t testing.TB, l *listenerv3.Listener) *managerv3.HttpConnectionManager {
	t.Helper()
	m, err := l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	return m.(*managerv3.HttpConnectionManager)
}

// message is the message of a resource, which must be valid.
func message[M proto.Message](t testing.TB, r envoy.Resource) M {
	t.Helper()
	return decode(t, r).(M)
}

func (v *validation) run() {
	v.t.Helper()
	if err := v.bootstrap.ValidateAll(); err != nil {
		v.t.Fatal(err)
	}
	config, err := proto.Marshal(v.bootstrap)
	if err != nil {
		v.t.Fatal(err)
	}
	path := filepath.Join(v.t.TempDir(), "bootstrap.pb")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		v.t.Fatal(err)
	}
	out, err := exec.Command(tools.Path(v.t, "envoy"), "--mode", "validate", "-c", path,
		"--log-level", "warning", "--concurrency", "1").CombinedOutput()
	if err != nil {
		v.t.Errorf("Envoy does not accept this: %v\n%s", err, out)
	}
}
