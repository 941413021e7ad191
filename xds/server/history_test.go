package server_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

var (
	histories = flag.Int("histories", 24, "how many random histories TestAnyHistoryEndsRight plays")
	firstSeed = flag.Uint64("seed", 1, "the seed of the first of them")
)

// Whatever is published in whatever order, and whatever Envoys do meanwhile: in
// the end each of them holds what a fresh one gets, which is what is published,
// and on the way no Envoy ever saw what never must happen (see simulated).
func TestAnyHistoryEndsRight(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+uint64(*histories); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			play(t, seed)
		})
	}
}

func FuzzAnyHistoryEndsRight(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(play)
}

// play plays the history of a seed.
func play(t *testing.T, seed uint64) {
	options := quick()
	options.Grace = 5 * time.Millisecond
	options.Settle = time.Millisecond
	h := &history{bed: newBed(t, options), random: rand.New(rand.NewPCG(seed, 1)), published: newPublished()}
	h.changeSettings(route.DefaultSettings())
	for service := range services {
		h.changeBackend(portOf(service))
	}
	for range h.random.IntN(8) {
		h.changeHost()
	}
	for i := range 1 + h.random.IntN(3) {
		h.bed.envoy(simulated.Options{
			Random: rand.New(rand.NewPCG(seed, uint64(i)+2)),
			Delay:  time.Duration(1 + h.random.Int64N(int64(5*time.Millisecond))),
		})
	}
	h.bed.server.Open()
	for range 20 + h.random.IntN(60) {
		h.step()
	}
	h.end()
}

// history is a random history, and what it has published.
type history struct {
	bed       *bed
	random    *rand.Rand
	published *published
	stalled   *simulated.Envoy
}

// published are the last values of every key, and all that hosts ever were.
type published struct {
	settings route.Settings
	hosts    map[route.Hostname]*route.Host
	past     map[route.Hostname][]*route.Host
	backends map[route.ServicePort]*route.Backend
}

func newPublished() *published {
	return &published{
		hosts:    make(map[route.Hostname]*route.Host),
		past:     make(map[route.Hostname][]*route.Host),
		backends: make(map[route.ServicePort]*route.Backend),
	}
}

// services are the Services of a history, with what is spoken to them.
var services = map[string]route.Cluster{
	"web": {}, "cart": {}, "grpc": {Protocol: route.HTTP2}, "tls": {TLS: true}, "bank": {DNS: "bank.example"}, "poisoned-service": {},
}

// historyHosts are the hosts of a history: a shard of several, single ones,
// wildcards and the default host.
func historyHosts() []route.Hostname {
	return append(inShard(5), "a.test", "b.test", "*.a.test", "*.b.test", route.AnyHost)
}

// step is one thing that happens.
func (h *history) step() {
	switch n := h.random.IntN(100); {
	case n < 50:
		h.changeHost()
	case n < 62:
		h.changeBackend(portOf(pick(h.random, slices.Sorted(maps.Keys(services)))))
	case n < 67:
		h.changeSettings(h.randomSettings())
	case n < 85:
		h.trouble()
	default:
		within(time.Duration(h.random.Int64N(int64(4*time.Millisecond))), func() bool { return false })
	}
}

func pick[T any](random *rand.Rand, all []T) T { return all[random.IntN(len(all))] }

func (h *history) changeHost() {
	name := pick(h.random, historyHosts())
	if h.random.IntN(5) == 0 {
		delete(h.published.hosts, name)
		h.bed.server.PublishHost(keyOf(name), nil)
		return
	}
	value := h.randomHost(name)
	h.published.hosts[name] = value
	h.published.past[name] = append(h.published.past[name], value)
	h.bed.server.PublishHost(value.Key, value)
}

func (h *history) randomHost(name route.Hostname) *route.Host {
	value := hostOf(name)
	if h.random.IntN(12) == 0 {
		value.Routes = append(value.Routes, to("/poison", "web"))
	}
	for _, path := range []string{"/one", "/two", "/"}[h.random.IntN(3):] {
		if h.random.IntN(6) == 0 {
			value.Routes = append(value.Routes, route.Route{Match: route.Match{Path: path}, Status: 503, Reason: "BackendNotFound"})
			continue
		}
		service := pick(h.random, []string{"web", "web", "cart", "cart", "grpc", "tls", "bank", "web", "cart", "grpc", "tls", "poisoned-service"})
		c := services[service]
		c.Port = portOf(service)
		if service == "web" && h.random.IntN(3) == 0 {
			c.Protocol = route.HTTP2 // another cluster with the same endpoints
		}
		value.Routes = append(value.Routes, route.Route{Match: route.Match{Path: path}, Cluster: &c})
	}
	return value
}

func (h *history) changeBackend(port route.ServicePort) {
	var backend *route.Backend
	switch n := h.random.IntN(10); {
	case n == 0 && h.published.backends[port] != nil:
	case n == 1:
		backend = backendOf(port, poison[envoy.TypeEndpoints])
	default:
		backend = backendOf(port, fmt.Sprintf("10.0.0.%d", 1+h.random.IntN(9)))
	}
	h.published.backends[port] = backend
	h.bed.server.PublishBackend(port, backend)
}

func (h *history) changeSettings(settings route.Settings) {
	h.published.settings = settings
	h.bed.server.PublishSettings(route.DefaultGateway, settings)
}

func (h *history) randomSettings() route.Settings {
	settings := route.DefaultSettings()
	switch h.random.IntN(4) {
	case 0:
		settings.Address = poison[envoy.TypeListener]
	case 1:
		settings.ConnectTimeout = time.Duration(1+h.random.IntN(3)) * time.Second
	default:
		settings.HTTPSPort = uint16(h.random.IntN(2) * 443)
	}
	return settings
}

// trouble befalls an Envoy.
func (h *history) trouble() {
	e := pick(h.random, h.bed.envoys)
	switch h.random.IntN(6) {
	case 0:
		e.Disconnect()
	case 1:
		e.Restart()
	case 2:
		e.DropAfter(pick(h.random, allTypes))
	case 3:
		if h.stalled != nil {
			h.stalled.Stall(false)
		}
		e.Stall(true)
		h.stalled = e
	default:
		e.Connect()
	}
}

// end lets every Envoy catch up and compares.
func (h *history) end() {
	b, t := h.bed, h.bed.t
	if h.published.settings.Address == poison[envoy.TypeListener] {
		h.changeSettings(route.DefaultSettings()) // an Envoy that never had a good listener cannot serve
	}
	for service := range services { // a host waits for endpoints that nobody publishes
		for h.published.backends[portOf(service)] == nil {
			h.changeBackend(portOf(service))
		}
	}
	for _, e := range b.envoys {
		e.Stall(false)
		e.DropAfter("")
		e.Connect()
	}
	b.eventually("all are connected and settled", func() bool { return len(b.server.Envoys()) == len(b.envoys) && b.idle() })
	for name, value := range h.published.hosts {
		bad := isPoison(value)
		var state server.HostState
		if !within(deadline, func() bool {
			state = b.server.Host(keyOf(name))
			return state.Published && state.Served == !bad && (state.Rejected != "") == bad
		}) {
			t.Fatalf("%s (bad: %t) is %+v, published %+v\n%s", name, bad, state, value.Routes, strings.Join(b.server.Pending(), "\n"))
		}
	}
	fresh := b.synced(simulated.Options{})
	if !within(deadline, func() bool { return b.idle() && h.unused(fresh) == "" }) {
		t.Fatalf("cluster %s stays, though nothing that is published needs it: %v", h.unused(fresh), b.server.Holders(h.unused(fresh)))
	}
	for i, e := range b.envoys[:len(b.envoys)-1] {
		got, want := versionsOf(e), versionsOf(fresh)
		maps.DeleteFunc(got[envoy.TypeEndpoints], func(name, _ string) bool {
			return want[envoy.TypeEndpoints][name] == "" && e.Inherits(envoy.TypeCluster)
		})
		diffPictures(t, fmt.Sprintf("envoy %d", i), got, "a fresh one", want)
		for _, url := range []string{envoy.TypeCluster, envoy.TypeListener, envoy.TypeScope} {
			if leaked := e.Leaked(url); len(leaked) > 0 {
				t.Errorf("envoy %d has %s %v of refused responses for ever", i, url, leaked)
			}
		}
	}
	h.published.compare(t, fresh)
}

// isPoison reports whether an Envoy refuses a host, or a cluster of it.
func isPoison(h *route.Host) bool {
	return slices.ContainsFunc(h.Routes, func(r route.Route) bool {
		return r.Match.Path == poison[envoy.TypeRoute] || r.Cluster != nil && r.Cluster.Port.Service.Name == poison[envoy.TypeCluster]
	})
}

// unused names a cluster that an Envoy has and nothing published needs.
func (h *history) unused(e *simulated.Envoy) string {
	needed := make(map[string]bool)
	for name, value := range h.published.hosts {
		values := []*route.Host{value}
		if isPoison(value) {
			values = h.published.past[name]
		}
		for _, v := range values {
			for _, r := range v.Routes {
				if r.Cluster != nil {
					needed[envoy.ClusterName(*r.Cluster)] = true
				}
			}
		}
	}
	for name := range e.Versions(envoy.TypeCluster) {
		if !needed[name] {
			return name
		}
	}
	return ""
}

// compare checks that what an Envoy has is the render of what is published.
func (p *published) compare(t testing.TB, e *simulated.Envoy) {
	t.Helper()
	listeners := make(map[string][]byte)
	for _, l := range envoy.Listeners(p.settings, nil) {
		listeners[l.Name] = l.Body
	}
	diffBodies(t, "listener", e.Bodies(envoy.TypeListener), listeners)
	scopes := make(map[string][]byte)
	for _, shard := range envoy.Shards() {
		r := envoy.Placeholder(shard)
		scopes[r.Name] = r.Body
	}
	for name := range p.withDefault() {
		r := envoy.Scope(name)
		scopes[r.Name] = r.Body
	}
	diffBodies(t, "scope", e.Bodies(envoy.TypeScope), scopes)
	p.compareRoutes(t, e)
	p.compareClusters(t, e)
}

// withDefault are the published hosts and the default host, which is always
// there.
func (p *published) withDefault() map[route.Hostname]*route.Host {
	hosts := maps.Clone(p.hosts)
	if hosts[route.AnyHost] == nil {
		hosts[route.AnyHost] = hostOf(route.AnyHost)
	}
	return hosts
}

func (p *published) compareRoutes(t testing.TB, e *simulated.Envoy) {
	t.Helper()
	count := 0
	for name, value := range p.withDefault() {
		got := virtualHost(e, name)
		if isPoison(value) {
			p.compareRejected(t, name, got)
			continue
		}
		body := envoy.RouteConfiguration(envoy.ShardOf(name), [][]byte{envoy.VirtualHost(value, route.Settings{})}).Body
		want := virtualHostBytes(body)[0]
		if !slices.Contains(virtualHostBytes(e.Body(envoy.TypeRoute, envoy.ShardOf(name))), want) {
			t.Errorf("%s serves %q, want %v", name, got, hostsIn(body))
		}
	}
	for _, body := range e.Bodies(envoy.TypeRoute) {
		count += len(hostsIn(body))
	}
	if want := len(p.withDefault()); count != want {
		t.Errorf("%d virtual hosts, want %d", count, want)
	}
}

// compareRejected checks that a rejected host serves a good version that it
// once had, or a stand-in.
func (p *published) compareRejected(t testing.TB, name route.Hostname, got string) {
	t.Helper()
	could := []string{standIn}
	if name == route.AnyHost {
		could = append(could, "") // there before anything is published
	}
	for _, past := range p.past[name] {
		if !isPoison(past) {
			body := envoy.RouteConfiguration("", [][]byte{envoy.VirtualHost(past, route.Settings{})}).Body
			could = append(could, slices.Collect(maps.Values(hostsIn(body)))...)
		}
	}
	if !slices.Contains(could, got) {
		t.Errorf("%s is rejected and serves %q, want one of %q", name, got, could)
	}
}

func (p *published) compareClusters(t testing.TB, e *simulated.Envoy) {
	t.Helper()
	for name, value := range p.hosts {
		for _, r := range value.Routes {
			if r.Cluster == nil || isPoison(value) {
				continue
			}
			want := envoy.Cluster(*r.Cluster, p.settings)
			if string(e.Body(envoy.TypeCluster, want.Name)) != string(want.Body) {
				t.Errorf("%s: cluster %s is not what is published", name, want.Name)
			}
			backend := p.backends[r.Cluster.Port]
			if r.Cluster.DNS != "" || backend == nil || strings.Contains(fmt.Sprint(backend), poison[envoy.TypeEndpoints]) {
				continue
			}
			endpoints := envoy.Endpoints(*backend)
			if string(e.Body(envoy.TypeEndpoints, endpoints.Name)) != string(endpoints.Body) {
				t.Errorf("%s: endpoints %s are not what is published: %v", name, endpoints.Name, backend)
			}
		}
	}
}

func diffBodies(t testing.TB, what string, got, want map[string][]byte) {
	t.Helper()
	for name, body := range want {
		if string(got[name]) != string(body) {
			t.Errorf("%s %s is missing or not what is published", what, name)
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("%s %s is not published", what, name)
		}
	}
}
