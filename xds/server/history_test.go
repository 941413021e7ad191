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
	options.ClusterGrace = 5 * time.Millisecond
	options.DNSGrace = time.Millisecond
	h := &history{bed: newBed(t, options), random: rand.New(rand.NewPCG(seed, 1)), published: newPublished(), chains: seed%2 == 0}
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
		if wrong := h.bed.server.WrongChains(); len(wrong) > 0 {
			t.Fatal(strings.Join(wrong, "\n"))
		}
	}
	h.end()
	h.dismantle()
}

// history is a random history, and what it has published.
type history struct {
	bed       *bed
	random    *rand.Rand
	published *published
	stalled   *simulated.Envoy
	// chains says that hosts have filter chains of their own. Then no listener is
	// refused: whether a chain or a setting is at fault an Envoy does not say.
	chains bool
}

// published are the last values of every key, and all that hosts ever were.
type published struct {
	settings route.Settings
	// withdrawn says that the gateway is, with these settings.
	withdrawn bool

	hosts    map[route.Hostname]*route.Host
	past     map[route.Hostname][]*route.Host
	backends map[route.ServicePort]*route.Backend

	certificates map[route.Hostname]*route.Certificate
	clientCAs    map[string]struct{} // by name of the Secret
}

func newPublished() *published {
	return &published{
		hosts:    make(map[route.Hostname]*route.Host),
		past:     make(map[route.Hostname][]*route.Host),
		backends: make(map[route.ServicePort]*route.Backend),

		certificates: make(map[route.Hostname]*route.Certificate),
		clientCAs:    make(map[string]struct{}),
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
	case n < 69:
		h.withdrawGateway()
	case n < 76 && h.chains:
		h.changeChains()
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
	if h.chains && h.random.IntN(6) == 0 {
		value.Routes = []route.Route{{Match: route.Match{Path: "/"}, Status: 421, Reason: "TLSPassthrough"}}
		value.Passthrough = new(clusterOf(pick(h.random, []string{"web", "cart"})))
		return value
	}
	if h.chains && h.random.IntN(3) == 0 {
		value.Client = &route.ClientPolicy{CA: secretOf(pick(h.random, historyCAs)), Required: h.random.IntN(3) > 0}
	}
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
	h.published.settings, h.published.withdrawn = settings, false
	h.bed.server.PublishSettings(route.DefaultGateway, settings)
}

// withdrawGateway withdraws the gateway, until its settings come back.
func (h *history) withdrawGateway() {
	for _, e := range h.bed.envoys {
		h.bed.mayDrop(e) // it may not come back before the gateway does
	}
	h.bed.server.WithdrawGateway(route.DefaultGateway)
	h.published.withdrawn = true
}

// historyCAs are the Secrets by which hosts of a history verify clients.
var historyCAs = []string{"staff-ca", "partner-ca"}

// changeChains changes something from which filter chains follow, other than a
// host.
func (h *history) changeChains() {
	if h.random.IntN(3) == 0 {
		ca := pick(h.random, historyCAs)
		if _, there := h.published.clientCAs[ca]; there {
			delete(h.published.clientCAs, ca)
			h.bed.server.PublishClientCA(secretOf(ca), nil)
		} else {
			h.published.clientCAs[ca] = struct{}{}
			h.bed.server.PublishClientCA(secretOf(ca), []byte("authorities"))
		}
		return
	}
	name := pick(h.random, append(historyHosts(), "c.a.test", "c.test"))
	switch h.random.IntN(4) {
	case 0:
		h.publishCertificate(name, nil)
	case 1:
		both := certificateOf("RSA")
		both.Other = certificateOf("ECDSA")
		h.publishCertificate(name, both)
	default:
		h.publishCertificate(name, certificateOf(string(name)))
	}
}

func (h *history) publishCertificate(name route.Hostname, certificate *route.Certificate) {
	if certificate == nil {
		delete(h.published.certificates, name)
	} else {
		h.published.certificates[name] = certificate
	}
	h.bed.server.PublishCertificate(keyOf(name), certificate)
}

func (h *history) randomSettings() route.Settings {
	settings := route.DefaultSettings()
	switch h.random.IntN(4) {
	case 0:
		if h.chains {
			settings.HTTPSPort, settings.TLS.HTTP3 = 443, true
		} else {
			settings.Address = poison[envoy.TypeListener]
		}
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
	switch {
	case h.published.settings.Address == poison[envoy.TypeListener]:
		h.changeSettings(route.DefaultSettings()) // an Envoy that never had a good listener cannot serve
	case h.published.withdrawn:
		h.changeSettings(h.published.settings)
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
	b.eventually("the listeners are those that are published", func() bool { return h.published.hasListeners(b.envoys[0]) })
	if waiting := b.server.WaitingHosts(); len(waiting) > 0 {
		t.Fatalf("in the end something waits:\n%s", strings.Join(waiting, "\n"))
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
			for _, c := range clustersOf(v) {
				needed[envoy.ClusterName(*c)] = true
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

// clustersOf are the clusters that a host names.
func clustersOf(h *route.Host) []*route.Cluster {
	var named []*route.Cluster
	if h.Passthrough != nil {
		named = append(named, h.Passthrough)
	}
	for _, r := range h.Routes {
		if r.Cluster != nil {
			named = append(named, r.Cluster)
		}
	}
	return named
}
