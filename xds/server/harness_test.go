package server_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// deadline bounds every wait of these tests. It is far longer than what is
// waited for takes.
const deadline = time.Minute

// What simulated Envoys refuse, by type: bytes that tests put into a host's
// path, a Service's name, an endpoint and a listener.
var poison = map[string]string{
	envoy.TypeRoute:     "/poison",
	envoy.TypeCluster:   "poisoned-service",
	envoy.TypeEndpoints: "192.0.2.66",
	envoy.TypeListener:  "192.0.2.67",
}

// refusePoison is an Envoy that is at odds with what Fairway rendered.
func refusePoison(url, name string, body []byte) string {
	if mark, ok := poison[url]; ok && strings.Contains(string(body), mark) {
		return name + " holds " + mark
	}
	return ""
}

// bed is a server, its wire, its observer and simulated Envoys.
type bed struct {
	t        testing.TB
	server   *server.Server
	wire     *simulated.Wire
	observer *recorder
	envoys   []*simulated.Envoy
	conns    []*grpc.ClientConn
	dropped  map[*simulated.Envoy]bool // allowed to be disconnected by the server
}

// newBed makes a server that is not open yet. When the test ends, no Envoy may
// have seen what never must happen.
func newBed(t testing.TB, options server.Options) *bed {
	t.Helper()
	b := &bed{t: t, observer: newRecorder(), dropped: make(map[*simulated.Envoy]bool)}
	if options.Observer == nil {
		options.Observer = b.observer
	}
	b.server = server.New(options)
	b.wire = simulated.NewWire(b.server)
	t.Cleanup(b.close)
	return b
}

// quick are options for tests that do not wait for timeouts.
func quick() server.Options {
	return server.Options{ClusterGrace: 50 * time.Millisecond, DNSGrace: 20 * time.Millisecond, AckTimeout: time.Minute}
}

// opened is a bed with a gateway, open.
func opened(t testing.TB, options server.Options) *bed {
	t.Helper()
	b := newBed(t, options)
	b.server.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	b.server.Open()
	return b
}

func (b *bed) close() {
	for _, e := range b.envoys {
		e.Disconnect()
	}
	for _, c := range b.conns {
		c.Close()
	}
	b.server.Close()
	b.wire.Close()
	for i, e := range b.envoys {
		violations := e.Violations()
		if n := e.Statistics().Dropped; n > 0 && !b.dropped[e] {
			violations = append(violations, fmt.Sprintf("disconnected by the server %d times", n))
		}
		if len(violations) > 0 {
			b.t.Errorf("envoy %d:\n  %s\n%s", i, strings.Join(violations, "\n  "), e.Trace())
		} else if b.t.Failed() {
			b.t.Logf("envoy %d:\n%s", i, e.Trace())
		}
	}
}

// envoy makes an Envoy of the default gateway that refuses poison, and connects
// it.
func (b *bed) envoy(options simulated.Options) *simulated.Envoy {
	b.t.Helper()
	conn, err := b.wire.Dial()
	if err != nil {
		b.t.Fatal(err)
	}
	b.conns = append(b.conns, conn)
	options.Conn = conn
	if options.Gateway == "" {
		options.Gateway = string(route.DefaultGateway)
	}
	if options.Node == "" {
		options.Node = fmt.Sprintf("envoy-%d", len(b.envoys))
	}
	if options.Refuse == nil {
		options.Refuse = refusePoison
	}
	e := simulated.New(options)
	b.envoys = append(b.envoys, e)
	e.Connect()
	return e
}

// synced is an Envoy that has caught up.
func (b *bed) synced(options simulated.Options) *simulated.Envoy {
	b.t.Helper()
	e := b.envoy(options)
	b.eventually("envoy catches up", func() bool { return e.Ready() && b.idle() })
	return e
}

// slowly is an Envoy that takes up to some milliseconds for each answer.
func slowly(seed uint64, milliseconds int) simulated.Options {
	return simulated.Options{
		Random: rand.New(rand.NewPCG(seed, seed)),
		Delay:  time.Duration(milliseconds)*time.Millisecond + 1,
	}
}

// mayDrop lets the server disconnect e.
func (b *bed) mayDrop(e *simulated.Envoy) *simulated.Envoy {
	b.dropped[e] = true
	return e
}

// eventually waits until ok holds.
func (b *bed) eventually(what string, ok func() bool) {
	b.t.Helper()
	if !within(deadline, ok) {
		b.t.Fatalf("not within %s: %s\nenvoys: %+v\n%s", deadline, what, b.server.Envoys(), strings.Join(b.server.Pending(), "\n"))
	}
}

// within polls until ok holds, or for d.
func within(d time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ok()
		}
	}
}

// always checks that ok holds for a while: for what must not happen.
func (b *bed) always(what string, ok func() bool) {
	b.t.Helper()
	if within(100*time.Millisecond, func() bool { return !ok() }) {
		b.t.Errorf("did not stay: %s", what)
	}
}

// idle reports whether every connected Envoy has caught up with everything.
func (b *bed) idle() bool {
	for _, e := range b.server.Envoys() {
		if !e.Synced || e.Pending > 0 {
			return false
		}
	}
	return true
}

// publish publishes a host, and its backends if they are new.
func (b *bed) publish(h *route.Host) {
	for _, r := range h.Routes {
		if r.Cluster != nil && r.Cluster.DNS == "" && b.observer.once(r.Cluster.Port) {
			b.server.PublishBackend(r.Cluster.Port, backendOf(r.Cluster.Port, "10.0.0.1"))
		}
	}
	b.server.PublishHost(h.Key, h)
}

// served publishes a host and waits until it is served.
func (b *bed) served(h *route.Host) {
	b.t.Helper()
	b.publish(h)
	b.eventually(h.Key.String()+" is served", func() bool { return b.server.Host(h.Key).Served })
}

// rejected publishes a host and waits until it is rejected.
func (b *bed) rejected(h *route.Host) {
	b.t.Helper()
	b.publish(h)
	b.eventually(h.Key.String()+" is rejected", func() bool { return b.server.Host(h.Key).Rejected != "" })
}

func (b *bed) withdraw(host route.Hostname) { b.server.PublishHost(keyOf(host), nil) }

// virtualHost describes the virtual host that e has for a host, as hostsIn does.
func virtualHost(e *simulated.Envoy, host route.Hostname) string {
	return hostsIn(e.Body(envoy.TypeRoute, envoy.ShardOf(host)))[scopeKey(envoy.Scope(host).Body)]
}

func keyOf(host route.Hostname) route.Key {
	return route.Key{Gateway: route.DefaultGateway, Host: host}
}

// hostOf is a host with routes.
func hostOf(host route.Hostname, routes ...route.Route) *route.Host {
	return &route.Host{Key: keyOf(host), Routes: routes}
}

// to routes a path to a Service.
func to(path, service string) route.Route {
	c := clusterOf(service)
	return route.Route{Match: route.Match{Path: path}, Cluster: &c, Origin: types.NamespacedName{Namespace: "shop", Name: "web"}}
}

func clusterOf(service string) route.Cluster { return route.Cluster{Port: portOf(service)} }

func portOf(service string) route.ServicePort {
	return route.ServicePort{Service: types.NamespacedName{Namespace: "shop", Name: service}, Port: 80}
}

func backendOf(port route.ServicePort, addresses ...string) *route.Backend {
	b := &route.Backend{Port: port}
	for _, a := range addresses {
		b.Endpoints = append(b.Endpoints, route.Endpoint{Address: netip.AddrPortFrom(netip.MustParseAddr(a), 8080)})
	}
	return b
}

// inShard are n names that share a shard.
func inShard(n int) []route.Hostname {
	var names []route.Hostname
	for i := 0; len(names) < n; i++ {
		name := route.Hostname(fmt.Sprintf("h%d.test", i))
		if envoy.ShardOf(name) == "exact-7" {
			names = append(names, name)
		}
	}
	return names
}

// recorder is an observer that remembers.
type recorder struct {
	mu        sync.Mutex
	served    map[route.Key]int
	rejected  map[route.Key][]string
	backends  map[route.ServicePort]string
	settings  map[route.Gateway]string
	order     []string
	published map[route.ServicePort]bool
	unproved  map[route.Key]string
	onServed  func(route.Key)
}

func newRecorder() *recorder {
	return &recorder{
		served:    make(map[route.Key]int),
		rejected:  make(map[route.Key][]string),
		backends:  make(map[route.ServicePort]string),
		settings:  make(map[route.Gateway]string),
		published: make(map[route.ServicePort]bool),
		unproved:  make(map[route.Key]string),
	}
}

func (h *recorder) HostServed(key route.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.served[key]++
	h.order = append(h.order, "served "+key.String())
	if h.onServed != nil {
		h.onServed(key)
	}
}

func (h *recorder) EnvoysChanged(route.Gateway) {}

// tellServed has f called whenever a host is served.
func (h *recorder) tellServed(f func(route.Key)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onServed = f
}

func (h *recorder) HostRejected(key route.Key, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rejected[key] = append(h.rejected[key], detail)
	h.order = append(h.order, "rejected "+key.String())
}

func (h *recorder) BackendRejected(port route.ServicePort, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.backends[port] = detail
}

func (h *recorder) SettingsRejected(gateway route.Gateway, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settings[gateway] = detail
}

func (h *recorder) CertificateRejected(key route.Key, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rejected[key] = append(h.rejected[key], detail)
}

func (h *recorder) CertificateNotServed(key route.Key, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unproved[key] = detail
}

// once reports whether it is asked of a port for the first time.
func (h *recorder) once(port route.ServicePort) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := !h.published[port]
	h.published[port] = true
	return first
}

func (h *recorder) timesServed(host route.Hostname) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.served[keyOf(host)]
}

func (h *recorder) rejections(host route.Hostname) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.rejected[keyOf(host)])
}

// rejectedHosts are the hosts that were ever rejected, sorted.
func (h *recorder) rejectedHosts() []route.Hostname {
	h.mu.Lock()
	defer h.mu.Unlock()
	var hosts []route.Hostname
	for key := range maps.Keys(h.rejected) {
		hosts = append(hosts, key.Host)
	}
	slices.Sort(hosts)
	return hosts
}
