package server_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

func secretOf(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: name}
}

// guarded is a host that requires certificates of clients by a Secret of shop.
func guarded(name route.Hostname, ca string) *route.Host {
	h := hostOf(name, to("/", "web"))
	h.Client = &route.ClientPolicy{CA: secretOf(ca), Required: true}
	return h
}

// secured is a bed with an HTTPS listener, open.
func secured(t testing.TB) *bed {
	t.Helper()
	b := newBed(t, quick())
	s := route.DefaultSettings()
	s.HTTPSPort = 443
	b.server.PublishSettings(route.DefaultGateway, s)
	b.server.Open()
	return b
}

// listenerOf is the HTTPS listener of an Envoy, and the names of its chains.
func listenerOf(t testing.TB, e *simulated.Envoy) (l *listenerv3.Listener, names []string) {
	t.Helper()
	l = &listenerv3.Listener{}
	if err := proto.Unmarshal(e.Body(envoy.TypeListener, envoy.HTTPS), l); err != nil {
		t.Fatal(err)
	}
	for _, c := range l.GetFilterChains() {
		names = append(names, c.GetName())
	}
	return l, names
}

// chainsAre waits for the HTTPS listener to have these chains beside those that
// it always has, and the names to lead where they shall: "a.test closed".
func (b *bed) chainsAre(e *simulated.Envoy, chains []string, leads ...string) {
	b.t.Helper()
	want := append(always(), chains...)
	b.eventually(fmt.Sprintf("chains are %q, %q", want, leads), func() bool {
		l, names := listenerOf(b.t, e)
		return slices.Equal(names, want) && !slices.ContainsFunc(leads, func(lead string) bool {
			name, to, _ := strings.Cut(lead, " ")
			return leadsTo(l, name) != to
		})
	})
}

// always are the chains that are always there.
func always() []string { return []string{envoy.HTTPS, "acme"} }

// leadsTo is the chain that the matcher of a listener names for a full name.
func leadsTo(l *listenerv3.Listener, name string) string {
	exact := l.GetFilterChainMatcher().GetOnNoMatch().GetMatcher().GetMatcherTree().GetExactMatchMap().GetMap()[name]
	return string(exact.GetAction().GetTypedConfig().GetValue()[min(2, len(exact.GetAction().GetTypedConfig().GetValue())):])
}

func TestChainsFollowWhatIsPublished(t *testing.T) {
	b := secured(t)
	e := b.synced(simulated.Options{})
	b.chainsAre(e, nil)
	b.served(guarded("a.test", "staff-ca"))
	b.chainsAre(e, nil, "a.test closed")
	b.server.PublishClientCA(secretOf("staff-ca"), []byte("authorities"))
	b.chainsAre(e, []string{"client shop/staff-ca required"}, "a.test client shop/staff-ca required")
	b.served(guarded("b.test", "staff-ca"))
	b.served(guarded("*.c.test", "staff-ca"))
	b.served(hostOf("open.c.test", to("/", "web")))
	b.chainsAre(e, []string{"client shop/staff-ca required"}, "b.test client shop/staff-ca required", "open.c.test https")
	b.served(guarded("b.test", "partner-ca"))
	b.chainsAre(e, []string{"client shop/staff-ca required"}, "b.test closed")
	b.served(hostOf("b.test", to("/", "web")))
	b.chainsAre(e, []string{"client shop/staff-ca required"}, "b.test ")
	b.withdraw("open.c.test")
	b.withdraw("*.c.test")
	b.server.PublishClientCA(secretOf("staff-ca"), nil)
	b.chainsAre(e, nil, "a.test closed", "open.c.test ")
	b.withdraw("a.test")
	b.chainsAre(e, nil, "a.test ")
}

// A host counts as served when its connections are treated as it demands.
func TestAGuardedHostIsServedOnceTheListenerIs(t *testing.T) {
	b := secured(t)
	b.server.PublishClientCA(secretOf("staff-ca"), []byte("authorities"))
	seen := make(chan bool, 1)
	e := b.envoy(simulated.Options{})
	b.eventually("envoy catches up", func() bool { return e.Ready() && b.idle() })
	b.observer.tellServed(func(key route.Key) {
		if key == keyOf("a.test") {
			select {
			case seen <- strings.Contains(string(e.Body(envoy.TypeListener, envoy.HTTPS)), "client shop/staff-ca required"):
			default:
			}
		}
	})
	b.publish(guarded("a.test", "staff-ca"))
	if !<-seen {
		t.Error("the host is told to be served, and the listener has no chain for it")
	}
}

// What a chain asks for is there when it does, and no client can ask for it.
func TestSecretsOfChains(t *testing.T) {
	b := secured(t)
	b.server.PublishHost(keyOf("*"), hostOf("*", to("/", "web")))
	b.server.PublishCertificate(route.Key{Host: route.AnyHost}, certificateOf("the default"))
	b.server.PublishClientCA(secretOf("staff-ca"), []byte("first"))
	a := b.asker()
	name := envoy.ClientCAName(secretOf("staff-ca"))
	a.asks(name, envoy.ClientCAName(secretOf("no-ca")), "client CA shop/staff-ca")
	a.until(name, "first")
	a.until("client CA shop/staff-ca", "the default")
	a.until(envoy.ClientCAName(secretOf("no-ca")), "")
	b.server.PublishClientCA(secretOf("staff-ca"), []byte("second"))
	a.until(name, "second")

	both := certificateOf("RSA")
	both.Other = certificateOf("ECDSA")
	b.server.PublishCertificate(keyOf("both.test"), both)
	first, second := envoy.PairSecretName("both.test", 0), envoy.PairSecretName("both.test", 1)
	a.asks(first, second, "both.test")
	a.until(first, "RSA")
	a.until(second, "ECDSA")
	a.until("both.test", "RSA")
	both = certificateOf("RSA")
	both.Other = certificateOf("rotated")
	b.server.PublishCertificate(keyOf("both.test"), both)
	a.until(second, "rotated")
}

func TestPairsHaveChains(t *testing.T) {
	b := secured(t)
	e := b.synced(simulated.Options{})
	both := certificateOf("RSA")
	both.Other = certificateOf("ECDSA")
	b.server.PublishCertificate(keyOf("*.both.test"), both)
	b.chainsAre(e, []string{"pair *.both.test"})
	b.server.PublishCertificate(keyOf("one.both.test"), certificateOf("one"))
	b.chainsAre(e, []string{"pair *.both.test"}, "one.both.test https")
	b.server.PublishClientCA(secretOf("staff-ca"), []byte("authorities"))
	b.served(guarded("a.both.test", "staff-ca"))
	b.chainsAre(e, []string{"client shop/staff-ca required pair *.both.test", "pair *.both.test"},
		"a.both.test client shop/staff-ca required pair *.both.test")
	b.server.PublishCertificate(keyOf("*.both.test"), certificateOf("RSA"))
	b.chainsAre(e, []string{"client shop/staff-ca required"}, "a.both.test client shop/staff-ca required", "one.both.test ")
}

// Connections are passed on as soon as there is where to, and no cluster goes
// before its chain.
func TestPassthroughWaitsForItsCluster(t *testing.T) {
	b := secured(t)
	e := b.synced(simulated.Options{})
	raw := hostOf("raw.test", route.Route{Match: route.Match{Path: "/"}, Status: 421, Reason: "TLSPassthrough"})
	c := clusterOf("raw")
	raw.Passthrough = &c
	b.server.PublishHost(raw.Key, raw)
	b.always("no chain without endpoints", func() bool {
		_, names := listenerOf(t, e)
		return len(names) == len(always())
	})
	b.server.PublishBackend(c.Port, backendOf(c.Port, "10.0.0.1"))
	b.chainsAre(e, []string{"passthrough shop/raw:80"}, "raw.test passthrough shop/raw:80")
	b.eventually("it is served", func() bool { return b.server.Host(raw.Key).Served })
	b.withdraw("raw.test")
	b.eventually("the cluster goes", func() bool {
		_, names := listenerOf(t, e)
		gone := e.Body(envoy.TypeCluster, envoy.ClusterName(c)) == nil
		if gone && len(names) > len(always()) {
			t.Error("the cluster has gone before its chain")
		}
		return gone
	})
}

// Of a refused listener the chain at fault is left out, and its hosts are told;
// connections for them are closed.
func TestARefusedChainCostsItself(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3} {
		random := rand.New(rand.NewPCG(seed, seed))
		b := secured(t)
		e := b.synced(simulated.Options{Refuse: func(url, name string, body []byte) string {
			if url == envoy.TypeListener && strings.Contains(string(body), "client shop/poisoned") {
				return name + " is poisoned"
			}
			return ""
		}})
		b.served(guarded("before.test", "before-ca"))
		b.server.PublishClientCA(secretOf("before-ca"), []byte("authorities"))
		const count = 20
		bad := map[int]bool{random.IntN(count): true, random.IntN(count): true}
		var wanted []string
		for i := range count {
			ca := fmt.Sprintf("good-%02d", i)
			if bad[i] {
				ca = fmt.Sprintf("poisoned-%02d", i)
			} else {
				wanted = append(wanted, "client shop/"+ca+" required")
			}
			b.server.PublishClientCA(secretOf(ca), []byte("authorities"))
			b.publish(guarded(route.Hostname(fmt.Sprintf("h%d.test", i)), ca))
		}
		b.chainsAre(e, append([]string{"client shop/before-ca required"}, wanted...), "before.test client shop/before-ca required")
		l, _ := listenerOf(t, e)
		for i := range count {
			name := route.Hostname(fmt.Sprintf("h%d.test", i))
			if bad[i] {
				b.eventually("it is told", func() bool { return strings.Contains(b.server.Host(keyOf(name)).Rejected, "is poisoned") })
				if got := leadsTo(l, string(name)); got != "closed" {
					t.Errorf("%s leads to %q", name, got)
				}
				b.eventually("a stand-in is served", func() bool { return virtualHost(e, name) == standIn })
				continue
			}
			b.eventually("it is served", func() bool { return b.server.Host(keyOf(name)).Served })
		}
		b.calm(e)
	}
}

// A host that begins to demand certificates does not go back to a version that
// demands none, even if that one was good.
func TestARefusedHostDoesNotOpenUp(t *testing.T) {
	b := secured(t)
	e := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	worse := poisoned("shop.test")
	worse.Client = &route.ClientPolicy{CA: secretOf("staff-ca"), Required: true}
	b.rejected(worse)
	b.eventually("a stand-in is served", func() bool { return virtualHost(e, "shop.test") == standIn })
}

// A pair is proved by either of its certificates; a name whose connections do not
// end here, or are refused, by none.
func TestProofsFollowTheChains(t *testing.T) {
	b := secured(t)
	first, leaf := issued(t, "both.test")
	second, otherLeaf := issued(t, "both.test")
	both := *first
	both.Other = second
	b.server.PublishCertificate(keyOf("both.test"), &both)
	staff, staffLeaf := issued(t, "staff.test")
	b.server.PublishCertificate(keyOf("staff.test"), staff)
	b.server.PublishHost(keyOf("staff.test"), guarded("staff.test", "staff-ca"))
	w := b.prover(nil)
	asked := w.next()
	if got := w.is(asked, "both.test"); !slices.Equal(got.Leaves, []proof.Fingerprint{leaf, otherLeaf}) {
		t.Errorf("asked to prove %v", got.Leaves)
	}
	w.acks(asked)
	w.idle() // no client gets the certificate of staff.test
	b.server.PublishClientCA(secretOf("staff-ca"), []byte("authorities"))
	asked = w.next()
	if got := w.is(asked, "staff.test"); !slices.Equal(got.Leaves, []proof.Fingerprint{staffLeaf}) {
		t.Errorf("asked to prove %v", got.Leaves)
	}
	w.acks(asked)
	b.server.PublishClientCA(secretOf("staff-ca"), nil)
	if gone := w.next(); !slices.Equal(gone.GetRemovedResources(), []string{"staff.test"}) {
		t.Errorf("told %v, want that staff.test is to be forgotten", gone)
	}
}

// Where the default host has a chain that most hosts have not, each new host changes
// the listener. Those that come together change it together, and are served.
func TestExceptionsAreGathered(t *testing.T) {
	b := newBed(t, quick())
	settings := route.DefaultSettings()
	settings.HTTPSPort = 443
	b.server.PublishSettings(route.DefaultGateway, settings)
	b.server.PublishClientCA(secretOf("staff-ca"), []byte("authorities"))
	b.publish(guarded(route.AnyHost, "staff-ca"))
	name := func(i int) route.Hostname { return route.Hostname(fmt.Sprintf("h%d.test", i)) }
	for i := range 300 {
		b.publish(hostOf(name(i), to("/", "web")))
	}
	b.server.Open()
	var listeners atomic.Int64
	e := b.synced(simulated.Options{Heard: func(url string, _ *discoveryv3.DeltaDiscoveryResponse) {
		if url == envoy.TypeListener {
			listeners.Add(1)
		}
	}})
	before := listeners.Load()
	for i := range 100 {
		b.publish(hostOf(name(300+i), to("/", "web")))
	}
	b.eventually("all are served", func() bool {
		for i := range 400 {
			if !b.server.Host(keyOf(name(i))).Served {
				return false
			}
		}
		return true
	})
	if n := listeners.Load() - before; n < 1 || n > 50 {
		t.Errorf("100 hosts that come together changed the listener %d times", n)
	}
	l, _ := listenerOf(t, e)
	for i := range 400 {
		if to := leadsTo(l, string(name(i))); to != envoy.HTTPS {
			t.Fatalf("%s leads to %q", name(i), to)
		}
	}
	b.server.PublishHost(keyOf(name(7)), hostOf(name(7), to("/changed", "web")))
	b.eventually("a change of routes is served", func() bool { return b.server.Host(keyOf(name(7))).Served })
	b.withdraw(name(8))
	b.eventually("a host is gone", func() bool { return !b.server.Host(keyOf(name(8))).Withdrawing })
}

// A host that is open below a guarded wildcard is not told to be served while
// connections for it are still treated as the wildcard's.
func TestAnOpenHostBelowAGuardedOneWaitsForTheListener(t *testing.T) {
	b := secured(t)
	b.server.PublishClientCA(secretOf("staff-ca"), []byte("authorities"))
	e := b.synced(simulated.Options{})
	b.served(guarded("*.staff.test", "staff-ca"))
	seen := make(chan string, 1)
	b.observer.tellServed(func(key route.Key) {
		if key == keyOf("open.staff.test") {
			l, _ := listenerOf(t, e)
			select {
			case seen <- leadsTo(l, "open.staff.test"):
			default:
			}
		}
	})
	b.publish(hostOf("open.staff.test", to("/", "web")))
	if to := <-seen; to != envoy.HTTPS {
		t.Errorf("the host is told to be served, and its connections lead to %q", to)
	}
}

// The certificates of a wildcard count for a name that has no others, whatever
// becomes of the wildcard's own connections.
func TestAPairIsRenewedForThoseItCovers(t *testing.T) {
	b := secured(t)
	b.server.PublishClientCA(secretOf("staff-ca"), []byte("authorities"))
	pair := func(mark string) *route.Certificate {
		both := certificateOf("RSA " + mark)
		both.Other = certificateOf("ECDSA " + mark)
		return both
	}
	b.server.PublishCertificate(keyOf("*.both.test"), pair("one"))
	passed := hostOf("*.both.test", route.Route{Match: route.Match{Path: "/"}, Status: 421, Reason: "TLSPassthrough"})
	passed.Passthrough = new(clusterOf("web"))
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.1"))
	b.server.PublishHost(passed.Key, passed)
	b.publish(guarded("staff.both.test", "staff-ca"))
	e := b.synced(simulated.Options{})
	b.chainsAre(e, []string{"client shop/staff-ca required pair *.both.test", "passthrough shop/web:80"},
		"staff.both.test client shop/staff-ca required pair *.both.test")
	a := b.asker()
	second := envoy.PairSecretName("*.both.test", 1)
	a.asks(second)
	a.until(second, "ECDSA one")
	b.server.PublishCertificate(keyOf("*.both.test"), pair("two"))
	a.until(second, "ECDSA two")
	b.server.PublishCertificate(keyOf("*.both.test"), certificateOf("RSA"))
	b.chainsAre(e, []string{"client shop/staff-ca required", "passthrough shop/web:80"}, "staff.both.test client shop/staff-ca required")
}
