package server_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// standIn is what a host serves that was refused and has no good version.
const standIn = "/>503"

func poisoned(host route.Hostname) *route.Host {
	return hostOf(host, to("/poison", "web"), to("/", "web"))
}

// calm checks that a NACK leads to no endless exchange.
func (b *bed) calm(e *simulated.Envoy) {
	b.t.Helper()
	b.eventually("everything is settled", b.idle)
	before := e.Statistics().Responses
	b.always("no more responses", func() bool { return e.Statistics().Responses == before })
}

func TestRefusedHostKeepsItsLastGoodVersion(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	b.rejected(poisoned("shop.test"))
	if got, want := virtualHost(e, "shop.test"), "/>shop/web:80"; got != want {
		t.Errorf("serves %q, want the last good %q", got, want)
	}
	b.eventually("the observer hears why", func() bool {
		details := b.observer.rejections("shop.test")
		return len(details) == 1 && strings.Contains(details[0], "holds /poison")
	})
	if state := b.server.Host(keyOf("shop.test")); state.Served || !state.Published || !strings.Contains(state.Rejected, "/poison") {
		t.Errorf("host state %+v", state)
	}
	b.calm(e)
	b.served(hostOf("shop.test", to("/mended", "web"), to("/", "web")))
	if state := b.server.Host(keyOf("shop.test")); state.Rejected != "" {
		t.Errorf("host state after it was mended: %+v", state)
	}
}

func TestRefusedHostIsServedAgainWhenItGoesBack(t *testing.T) {
	b := opened(t, quick())
	b.synced(simulated.Options{})
	good := hostOf("shop.test", to("/", "web"))
	b.served(good)
	b.rejected(poisoned("shop.test"))
	n := b.observer.timesServed("shop.test")
	b.served(good)
	b.eventually("the observer hears of it", func() bool { return b.observer.timesServed("shop.test") > n })
}

func TestRefusedHostWithoutGoodVersionAnswers503(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.rejected(poisoned("shop.test"))
	b.eventually("a stand-in is served", func() bool { return virtualHost(e, "shop.test") == standIn })
	b.calm(e)
	if e.Body(envoy.TypeScope, envoy.Scope("shop.test").Name) == nil {
		t.Error("the stand-in has no scope: requests fall through to a wider host")
	}
	b.withdraw("shop.test")
	b.eventually("it can be withdrawn", func() bool { return virtualHost(e, "shop.test") == "" && b.idle() })
	b.served(hostOf("shop.test", to("/", "web")))
}

func TestOneRefusedHostAmongFiftyOfAShard(t *testing.T) {
	for _, bad := range []int{0, 17, 49} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			b := opened(t, quick())
			e := b.synced(simulated.Options{})
			names := inShard(50)
			e.Stall(true) // all of them come in one response
			for i, name := range names {
				if i == bad {
					b.publish(poisoned(name))
				} else {
					b.publish(hostOf(name, to("/", "web")))
				}
			}
			e.Stall(false)
			b.allServedBut(names, names[bad])
			if got := virtualHost(e, names[bad]); got != standIn {
				t.Errorf("the refused host serves %q, want a stand-in", got)
			}
			b.calm(e)
			if n := e.Statistics().Refused; n > 12 {
				t.Errorf("it took %d refused responses to find one host of 50", n)
			}
		})
	}
}

func TestManyRefusedHostsInOneResponse(t *testing.T) {
	b := opened(t, quick())
	envoys := []*simulated.Envoy{b.synced(simulated.Options{}), b.synced(simulated.Options{})}
	names := append(inShard(20), "other.test", "*.wild.test", route.AnyHost)
	bad := []route.Hostname{names[3], names[4], names[15], "*.wild.test"}
	envoys[0].Stall(true)
	for _, name := range names {
		if slices.Contains(bad, name) {
			b.publish(poisoned(name))
		} else {
			b.publish(hostOf(name, to("/", "web")))
		}
	}
	envoys[0].Stall(false)
	b.allServedBut(names, bad...)
	for _, e := range envoys {
		for _, name := range bad {
			if got := virtualHost(e, name); got != standIn {
				t.Errorf("%s serves %q, want a stand-in", name, got)
			}
		}
		b.calm(e)
	}
	for _, name := range bad {
		b.served(hostOf(name, to("/", "web")))
	}
}

// While the host at fault is sought among those of its shard, the others of the
// shard change on: none of them is blamed for it.
func TestHostsThatChangeWhileOneIsSought(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{Delay: 5 * time.Millisecond, Random: rand.New(rand.NewPCG(1, 2))})
	names := inShard(30)
	bad := []route.Hostname{names[4], names[16]}
	publish := func(name route.Hostname) {
		if slices.Contains(bad, name) {
			b.publish(poisoned(name))
		} else {
			b.publish(hostOf(name, to("/", "web")))
		}
	}
	e.Stall(true)
	for _, name := range names[:15] {
		publish(name)
	}
	e.Stall(false)
	b.eventually("the search has begun", func() bool { return e.Statistics().Refused > 0 })
	for _, name := range names[15:] {
		publish(name)
		n := e.Statistics().Responses
		b.eventually("the search goes on, or is over", func() bool { return e.Statistics().Responses > n || b.idle() })
	}
	b.allServedBut(names, bad...)
	b.calm(e)
}

func TestRefusedHostsAtAFreshStart(t *testing.T) {
	b := newBed(t, quick())
	b.server.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	names := append(inShard(10), "other.test", "*.wild.test", route.AnyHost)
	bad := []route.Hostname{names[0], names[7], route.AnyHost}
	for _, name := range names {
		if slices.Contains(bad, name) {
			b.publish(poisoned(name))
		} else {
			b.publish(hostOf(name, to("/", "web")))
		}
	}
	b.server.Open()
	e := b.synced(simulated.Options{})
	b.allServedBut(names, bad...)
	for _, name := range bad {
		if got := virtualHost(e, name); got != standIn {
			t.Errorf("%s serves %q, want a stand-in", name, got)
		}
	}
	b.calm(e)
}

// allServedBut waits until exactly bad are rejected and all others served.
func (b *bed) allServedBut(names []route.Hostname, bad ...route.Hostname) {
	b.t.Helper()
	for _, name := range names {
		rejected := slices.Contains(bad, name)
		b.eventually(fmt.Sprintf("%s is served, or rejected if it is bad (%t)", name, rejected), func() bool {
			state := b.server.Host(keyOf(name))
			return state.Served == !rejected && (state.Rejected != "") == rejected
		})
	}
	slices.Sort(bad)
	b.eventually("the observer hears of exactly those", func() bool { return slices.Equal(b.observer.rejectedHosts(), bad) })
}

func TestRefusedClusterCostsTheHostsThatNameIt(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.served(hostOf("old.test", to("/", "web")))
	e.Stall(true) // the bad cluster comes with good ones
	b.publish(hostOf("old.test", to("/", "poisoned-service")))
	b.publish(hostOf("new.test", to("/cart", "cart"), to("/", "poisoned-service")))
	var good []route.Hostname
	for i := range 10 {
		good = append(good, route.Hostname(fmt.Sprintf("good%d.test", i)))
		b.publish(hostOf(good[i], to("/", fmt.Sprintf("good%d", i))))
	}
	e.Stall(false)
	b.allServedBut(append(good, "old.test", "new.test"), "old.test", "new.test")
	if got, want := virtualHost(e, "old.test"), "/>shop/web:80"; got != want {
		t.Errorf("old.test serves %q, want the last good %q", got, want)
	}
	b.eventually("new.test has a stand-in", func() bool { return virtualHost(e, "new.test") == standIn })
	b.calm(e)
	b.served(hostOf("old.test", to("/", "cart")))
	b.served(hostOf("new.test", to("/", "cart")))
}

func TestRefusedEndpointsKeepTheLastGoodOnes(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/cart", "cart"), to("/", "web")))
	e.Stall(true)
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), poison[envoy.TypeEndpoints]))
	b.server.PublishBackend(portOf("cart"), backendOf(portOf("cart"), "10.0.0.7"))
	e.Stall(false)
	b.eventually("the other endpoints change", func() bool { return e.Has(envoy.TypeEndpoints, "shop/cart:80", "10.0.0.7") })
	b.eventually("the observer hears of it", func() bool {
		b.observer.mu.Lock()
		defer b.observer.mu.Unlock()
		return strings.Contains(b.observer.backends[portOf("web")], "192.0.2.66") && len(b.observer.backends) == 1
	})
	if !e.Has(envoy.TypeEndpoints, "shop/web:80", "10.0.0.1") {
		t.Error("the last good endpoints are gone")
	}
	b.calm(e)
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.8"))
	b.eventually("mended endpoints are told", func() bool { return e.Has(envoy.TypeEndpoints, "shop/web:80", "10.0.0.8") })
}

func TestRefusedEndpointsWithoutGoodOnesAreEmpty(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.observer.once(portOf("web"))
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), poison[envoy.TypeEndpoints]))
	b.served(hostOf("shop.test", to("/", "web")))
	b.calm(e)
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.8"))
	b.eventually("mended endpoints are told", func() bool { return e.Has(envoy.TypeEndpoints, "shop/web:80", "10.0.0.8") })
}

// What was good before the server started is known from the Envoy that has it.
func TestRefusedEndpointsKeepThoseOfAnEarlierServer(t *testing.T) {
	first, second := opened(t, quick()), opened(t, quick())
	for _, b := range []*bed{first, second} {
		b.publish(hostOf("shop.test", to("/", "web")))
	}
	e := first.synced(simulated.Options{})
	e.Disconnect()
	second.redirect(e)
	second.server.PublishBackend(portOf("web"), backendOf(portOf("web"), poison[envoy.TypeEndpoints]))
	second.eventually("the observer hears of it", func() bool {
		second.observer.mu.Lock()
		defer second.observer.mu.Unlock()
		return len(second.observer.backends) == 1
	})
	second.calm(e)
	if !e.Has(envoy.TypeEndpoints, "shop/web:80", "10.0.0.1") {
		t.Error("the last good endpoints are gone")
	}
	e.Disconnect()
}

func TestRefusedListenerKeepsTheLastGoodOne(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	good := e.Version(envoy.TypeListener, "http")
	bad := route.DefaultSettings()
	bad.Address = poison[envoy.TypeListener]
	b.server.PublishSettings(route.DefaultGateway, bad)
	b.eventually("the observer hears of it", func() bool {
		b.observer.mu.Lock()
		defer b.observer.mu.Unlock()
		return strings.Contains(b.observer.settings[route.DefaultGateway], "192.0.2.67")
	})
	b.calm(e)
	if v := e.Version(envoy.TypeListener, "http"); v != good {
		t.Errorf("listener version %q, want the last good %q", v, good)
	}
	b.served(hostOf("shop.test", to("/", "web")))
	mended := route.DefaultSettings()
	mended.HTTPPort = 8080
	b.server.PublishSettings(route.DefaultGateway, mended)
	b.eventually("mended settings are told", func() bool { return e.Version(envoy.TypeListener, "http") != good })
}

func TestHostThatOnlyOneEnvoyRefuses(t *testing.T) {
	b := opened(t, quick())
	lenient := b.synced(simulated.Options{Refuse: func(string, string, []byte) string { return "" }})
	strict := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	b.rejected(poisoned("shop.test"))
	for _, e := range []*simulated.Envoy{lenient, strict} {
		b.eventually("both serve the last good version", func() bool { return virtualHost(e, "shop.test") == "/>shop/web:80" })
		b.calm(e)
	}
	b.served(hostOf("shop.test", to("/", "cart")))
}

// A response that is refused as a whole without any of its parts being at fault.
// So that it has several parts, a response of each type is under way already.
func TestResponseThatIsRefusedOnce(t *testing.T) {
	for _, url := range []string{envoy.TypeCluster, envoy.TypeEndpoints, envoy.TypeListener} {
		t.Run(url, func(t *testing.T) {
			b := opened(t, quick())
			var refuse atomic.Bool
			e := b.synced(simulated.Options{Refuse: func(got, _ string, _ []byte) string {
				if got == url && refuse.CompareAndSwap(true, false) {
					return "not today"
				}
				return ""
			}})
			b.served(hostOf("first.test", to("/", "first")))
			before := e.Statistics().Responses
			e.Stall(true)
			settings := route.DefaultSettings()
			settings.HTTPPort, settings.ConnectTimeout = 8080, 9*time.Second
			b.server.PublishSettings(route.DefaultGateway, settings)
			b.server.PublishBackend(portOf("first"), backendOf(portOf("first"), "10.0.0.2"))
			b.eventually("clusters, endpoints and listeners are under way", func() bool { return e.Statistics().Responses == before+3 })
			refuse.Store(true)
			settings.HTTPPort, settings.HTTPSPort = 8081, 8443
			b.server.PublishSettings(route.DefaultGateway, settings)
			names := []route.Hostname{"first.test"}
			for i := range 5 {
				names = append(names, route.Hostname(fmt.Sprintf("h%d.test", i)))
				b.publish(hostOf(names[i+1], to("/", fmt.Sprintf("s%d", i))))
			}
			e.Stall(false)
			b.allServedBut(names)
			b.calm(e)
			if refuse.Load() || len(e.Versions(envoy.TypeListener)) != 2 {
				t.Errorf("nothing was refused (%t), or the listeners are not there: %v", refuse.Load(), e.Versions(envoy.TypeListener))
			}
		})
	}
}
