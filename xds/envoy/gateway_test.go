package envoy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/test/tools"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// gateway is a real Envoy that serves what the test publishes.
type gateway struct {
	t        testing.TB
	ads      *ads
	settings route.Settings
	dir      string
	shards   map[string]map[route.Hostname][]byte
	cmd      *exec.Cmd
	resolver netip.AddrPort // of names; the zero value: that of this machine
}

// testSettings are the defaults on loopback.
func testSettings(t testing.TB) route.Settings {
	s := route.DefaultSettings()
	s.Address = "127.0.0.1"
	s.HTTPPort = freeport.Get(t)
	return s
}

// newGateway starts an Envoy with the settings and the hosts, and waits until
// it serves.
func newGateway(t testing.TB, s route.Settings, hosts ...*route.Host) *gateway {
	t.Helper()
	return newGatewayAsking(t, netip.AddrPort{}, s, hosts...)
}

// newGatewayAsking is newGateway with a DNS server of its own.
func newGatewayAsking(t testing.TB, resolver netip.AddrPort, s route.Settings, hosts ...*route.Host) *gateway {
	t.Helper()
	g := &gateway{
		t: t, ads: newADS(), settings: s, dir: t.TempDir(), shards: make(map[string]map[route.Hostname][]byte), resolver: resolver,
	}
	var first []envoy.Resource
	for _, shard := range envoy.Shards() {
		g.shards[shard] = make(map[route.Hostname][]byte)
		first = append(first, envoy.RouteConfiguration(shard, nil), envoy.Placeholder(shard))
	}
	g.ads.publish(first...)
	g.serve(hosts...)
	g.ads.publish(envoy.Listeners(s, nil)...)
	g.run()
	return g
}

// serve publishes hosts with the clusters that they name.
func (g *gateway) serve(hosts ...*route.Host) {
	for _, h := range hosts {
		for _, r := range h.Routes {
			if r.Cluster != nil {
				g.ads.publish(envoy.Cluster(*r.Cluster, g.settings))
			}
		}
		shard := envoy.ShardOf(h.Key.Host)
		g.shards[shard][h.Key.Host] = envoy.VirtualHost(h, g.settings)
		g.ads.publish(g.shard(shard), envoy.Scope(h.Key.Host))
	}
}

func (g *gateway) shard(name string) envoy.Resource {
	var hosts [][]byte
	for _, body := range g.shards[name] {
		hosts = append(hosts, body)
	}
	return envoy.RouteConfiguration(name, hosts)
}

// backend publishes the addresses as the endpoints of a Service port.
func (g *gateway) backend(port route.ServicePort, addresses ...string) {
	b := route.Backend{Port: port}
	for _, address := range addresses {
		b.Endpoints = append(b.Endpoints, route.Endpoint{Address: netip.MustParseAddrPort(address)})
	}
	g.ads.publish(envoy.Endpoints(b))
}

func (g *gateway) run() {
	g.t.Helper()
	socket := filepath.Join(g.dir, "xds.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		g.t.Fatal(err)
	}
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, g.ads)
	go server.Serve(listener) //nolint:errcheck // ends with Stop
	config := filepath.Join(g.dir, "bootstrap.json")
	if err := os.WriteFile(config, bootstrap(g.dir, g.resolver), 0o600); err != nil {
		g.t.Fatal(err)
	}
	g.cmd = exec.Command(tools.Path(g.t, "envoy"), "-c", config, "--concurrency", "2",
		"--disable-hot-restart", "--log-level", "warning", "--file-flush-interval-msec", "20")
	stdout, stderr := g.file("access.log"), g.file("envoy.log")
	g.cmd.Stdout, g.cmd.Stderr = stdout, stderr
	g.start()
	g.t.Cleanup(func() {
		g.cmd.Process.Kill()
		g.cmd.Wait()
		server.Stop()
		stdout.Close()
		stderr.Close()
		if refused := g.ads.refusals(); len(refused) > 0 {
			g.t.Errorf("Envoy refused what was rendered:\n%s", strings.Join(refused, "\n"))
		}
		if g.t.Failed() {
			g.t.Logf("Envoy's log:\n%s", g.read("envoy.log"))
		}
	})
	g.eventually("Envoy is live", func() error {
		if refused := g.ads.refusals(); len(refused) > 0 {
			g.t.Fatal("Envoy refused what was rendered")
		}
		state := g.admin("/ready")
		if strings.TrimSpace(state) != "LIVE" {
			return fmt.Errorf("it is %q", state)
		}
		return nil
	})
}

// start keeps the thread that starts Envoy, because Pdeathsig is of a thread.
func (g *gateway) start() {
	g.t.Helper()
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- g.cmd.Start()
		<-ended
	}()
	if err := <-started; err != nil {
		close(ended)
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { close(ended) })
}

func (g *gateway) file(name string) *os.File {
	g.t.Helper()
	f, err := os.Create(filepath.Join(g.dir, name))
	if err != nil {
		g.t.Fatal(err)
	}
	return f
}

func (g *gateway) read(name string) string {
	content, _ := os.ReadFile(filepath.Join(g.dir, name))
	return string(content)
}

// admin asks Envoy's admin interface; an error is an empty answer.
func (g *gateway) admin(path string) string {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(g.dir, "admin.sock"))
		},
	}}
	response, err := client.Get("http://envoy" + path)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

// eventually polls until what returns nil.
func (g *gateway) eventually(what string, try func() error) {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	for range time.Tick(5 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}

// address is where the gateway listens for HTTP.
func (g *gateway) address() string { return fmt.Sprintf("127.0.0.1:%d", g.settings.HTTPPort) }

// bootstrap is the least that Envoy needs, and what keeps it small: no metrics
// of single clusters.
func bootstrap(dir string, resolver netip.AddrPort) []byte {
	pipe := func(name string) any { return map[string]any{"pipe": map[string]any{"path": filepath.Join(dir, name)}} }
	http2 := map[string]any{
		"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
		"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
	}
	source := map[string]any{"ads": map[string]any{}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
	all := map[string]any{
		"node":            map[string]any{"id": "test", "cluster": "default"},
		"cluster_manager": map[string]any{"enable_deferred_cluster_creation": true},
		"layered_runtime": map[string]any{"layers": []any{map[string]any{"name": "static", "static_layer": map[string]any{
			"envoy.reloadable_features.least_request_lb_count_pending_requests": true, // as xds/gateway has it
		}}}},
		"deferred_stat_options": map[string]any{"enable_deferred_creation_stats": true},
		"stats_config": map[string]any{"stats_matcher": map[string]any{
			"exclusion_list": map[string]any{"patterns": []any{map[string]any{"prefix": "cluster."}}},
		}},
		"admin": map[string]any{"address": pipe("admin.sock")},
		"dynamic_resources": map[string]any{
			"ads_config": map[string]any{
				"api_type": "DELTA_GRPC", "transport_api_version": "V3",
				"grpc_services": []any{map[string]any{"envoy_grpc": map[string]any{"cluster_name": "xds"}}},
			},
			"cds_config": source, "lds_config": source,
		},
		"static_resources": map[string]any{"clusters": []any{map[string]any{
			"name": "xds", "type": "STATIC",
			"typed_extension_protocol_options": map[string]any{
				"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2,
			},
			"load_assignment": map[string]any{"cluster_name": "xds", "endpoints": []any{map[string]any{
				"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": pipe("xds.sock")}}},
			}}},
		}}},
	}
	if resolver.IsValid() {
		all["typed_dns_resolver_config"] = resolverConfig(resolver)
	}
	out, _ := json.Marshal(all)
	return bytes.TrimSpace(out)
}

func resolverConfig(resolver netip.AddrPort) any {
	return map[string]any{
		"name": "envoy.network.dns_resolver.cares",
		"typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
			"resolvers": []any{map[string]any{"socket_address": map[string]any{
				"address": resolver.Addr().String(), "port_value": resolver.Port(),
			}}},
			"dns_resolver_options": map[string]any{"no_default_search_domain": true},
		},
	}
}

// port is a Service port of the namespace shop.
func port(name string) route.ServicePort {
	return route.ServicePort{Service: types.NamespacedName{Namespace: "shop", Name: name}, Port: 80}
}

// host is a host whose routes are all of the Ingress shop/web.
func host(name string, routes ...route.Route) *route.Host {
	for i := range routes {
		routes[i].Origin = types.NamespacedName{Namespace: "shop", Name: "web"}
	}
	return &route.Host{Key: route.Key{Gateway: route.DefaultGateway, Host: route.Hostname(name)}, Routes: routes}
}

func prefix(path, service string) route.Route {
	return route.Route{Match: route.Match{Kind: route.Prefix, Path: path}, Cluster: &route.Cluster{Port: port(service)}}
}

func exactly(path, service string) route.Route {
	return route.Route{Match: route.Match{Kind: route.Exact, Path: path}, Cluster: &route.Cluster{Port: port(service)}}
}

// rescoped is the scope with another shard.
func rescoped(t testing.TB, scope envoy.Resource, shard string) envoy.Resource {
	t.Helper()
	var message routev3.ScopedRouteConfiguration
	if err := proto.Unmarshal(scope.Body, &message); err != nil {
		t.Fatal(err)
	}
	message.RouteConfigurationName = shard
	body, err := proto.Marshal(&message)
	if err != nil {
		t.Fatal(err)
	}
	scope.Body = body
	return scope
}
