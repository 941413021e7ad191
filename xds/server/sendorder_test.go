package server_test

import (
	"testing"
	"time"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

func TestEnvoyOfAnEmptyGatewayListens(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	if n := len(e.Bodies(envoy.TypeRoute)); n != len(envoy.Shards()) {
		t.Errorf("subscribed to %d RouteConfigurations, want all %d shards", n, len(envoy.Shards()))
	}
}

func TestHostIsServed(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	if got, want := virtualHost(e, "shop.test"), "/>shop/web:80"; got != want {
		t.Errorf("virtual host %q, want %q", got, want)
	}
	b.eventually("the observer hears of it", func() bool { return b.observer.timesServed("shop.test") > 0 })
}

func TestHostsPublishedBeforeOpenAreServed(t *testing.T) {
	b := newBed(t, quick())
	e := b.envoy(simulated.Options{})
	b.server.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	for _, name := range []route.Hostname{"shop.test", "*.shop.test", route.AnyHost} {
		b.publish(hostOf(name, to("/", "web")))
	}
	b.always("nothing is sent before Open", func() bool { return e.Statistics().Responses == 0 })
	b.server.Open()
	for _, name := range []route.Hostname{"shop.test", "*.shop.test", route.AnyHost} {
		b.eventually(string(name)+" is served", func() bool { return b.server.Host(keyOf(name)).Served })
		if got, want := virtualHost(e, name), "/>shop/web:80"; got != want {
			t.Errorf("%s: virtual host %q, want %q; %s holds %v", name, got, want, envoy.ShardOf(name), hostsIn(e.Body(envoy.TypeRoute, envoy.ShardOf(name))))
		}
	}
}

func TestHostWaitsForItsClusterOnEveryEnvoy(t *testing.T) {
	b := opened(t, quick())
	quickOne, slow := b.synced(simulated.Options{}), b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "old")))
	slow.Stall(true)
	b.publish(hostOf("shop.test", to("/", "new")))
	b.eventually("the quick Envoy has the cluster", func() bool { return quickOne.Body(envoy.TypeCluster, "shop/new:80") != nil })
	b.always("routes wait for the slow one", func() bool { return virtualHost(quickOne, "shop.test") == "/>shop/old:80" })
	if state := b.server.Host(keyOf("shop.test")); state.Served || state.WaitingFor == "" {
		t.Errorf("host state %+v, want waiting and not served", state)
	}
	slow.Stall(false)
	b.eventually("host is served", func() bool { return b.server.Host(keyOf("shop.test")).Served })
	b.eventually("the old cluster is removed after the grace period", func() bool {
		return quickOne.Body(envoy.TypeCluster, "shop/old:80") == nil && slow.Body(envoy.TypeCluster, "shop/old:80") == nil
	})
}

func TestHostIsNotServedUntilEveryEnvoyAnswered(t *testing.T) {
	b := opened(t, quick())
	b.synced(simulated.Options{})
	slow := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	slow.Stall(true)
	b.publish(hostOf("shop.test", to("/cart", "web"), to("/", "web")))
	b.always("not served", func() bool { return !b.server.Host(keyOf("shop.test")).Served })
	slow.Stall(false)
	b.eventually("served", func() bool { return b.server.Host(keyOf("shop.test")).Served })
}

func TestStalledEnvoyIsDisconnectedAndOthersGoOn(t *testing.T) {
	for name, stall := range map[string]func(*simulated.Envoy){
		"it answers nothing": func(e *simulated.Envoy) { e.Stall(true) },
		"it reads nothing":   func(e *simulated.Envoy) { e.Deafen(true) },
	} {
		t.Run(name, func(t *testing.T) {
			options := quick()
			options.AckTimeout = 300 * time.Millisecond
			b := opened(t, options)
			b.mayDrop(b.synced(simulated.Options{Node: "good"})) // a busy machine may be slow, too
			bad := b.mayDrop(b.synced(simulated.Options{Node: "bad"}))
			stall(bad)
			start := time.Now()
			b.publish(hostOf("shop.test", to("/", "web")))
			b.eventually("host is served without the stalled Envoy", func() bool { return b.observer.timesServed("shop.test") > 0 })
			if d := time.Since(start); d < options.AckTimeout/2 {
				t.Errorf("served after %s: the stalled Envoy was not waited for", d)
			}
			bad.Stall(false)
			bad.Deafen(false)
			b.eventually("the stalled Envoy comes back and catches up", func() bool {
				return b.idle() && len(b.server.Envoys()) == 2 && virtualHost(bad, "shop.test") == "/>shop/web:80"
			})
			if bad.Statistics().Dropped == 0 {
				t.Error("the stalled Envoy was not disconnected")
			}
		})
	}
}

func TestWithdrawnHostGoesWithItsCluster(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	b.withdraw("shop.test")
	b.eventually("its scope, virtual host, cluster and endpoints go", func() bool {
		return e.Body(envoy.TypeScope, envoy.Scope("shop.test").Name) == nil &&
			virtualHost(e, "shop.test") == "" &&
			e.Body(envoy.TypeCluster, "shop/web:80") == nil &&
			e.Body(envoy.TypeEndpoints, "shop/web:80") == nil
	})
	b.eventually("the observer hears of it", func() bool { return b.observer.timesServed("shop.test") > 1 })
	if state := b.server.Host(keyOf("shop.test")); state.Published {
		t.Errorf("host state %+v, want not published", state)
	}
	b.served(hostOf("shop.test", to("/", "web")))
}

func TestHostWithdrawnBeforeOpenLeavesNothing(t *testing.T) {
	b := newBed(t, quick())
	b.server.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	b.publish(hostOf("shop.test", to("/", "web")))
	b.withdraw("shop.test")
	b.withdraw("shop.test")
	b.server.Open()
	e := b.synced(simulated.Options{})
	b.eventually("its cluster goes", func() bool { return len(e.Versions(envoy.TypeCluster)) == 0 })
}

func TestEqualValueSendsNothing(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	before := e.Statistics().Responses
	b.server.PublishHost(keyOf("shop.test"), hostOf("shop.test", to("/", "web")))
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.1"))
	b.server.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	b.always("no response", func() bool { return e.Statistics().Responses == before })
}

func TestWithdrawnBackendStaysWhileItIsUsed(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	b.server.PublishBackend(portOf("web"), nil)
	b.always("its endpoints stay", func() bool { return e.Has(envoy.TypeEndpoints, "shop/web:80", "10.0.0.1") })
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.2"))
	b.eventually("new endpoints are told", func() bool { return e.Has(envoy.TypeEndpoints, "shop/web:80", "10.0.0.2") })
}

// A second cluster of a port names endpoints that Envoy has subscribed already:
// it does not ask again, and holds the ACK of CDS until they come.
func TestClusterOfAnotherPolicyIsWarmed(t *testing.T) {
	b := opened(t, quick())
	b.synced(simulated.Options{Warm: 2 * time.Second})
	b.served(hostOf("shop.test", to("/", "web")))
	h2 := clusterOf("web")
	h2.Protocol = route.HTTP2
	b.served(hostOf("grpc.test", route.Route{Match: route.Match{Path: "/"}, Cluster: &h2}))
	b.served(hostOf("shop.test", route.Route{Match: route.Match{Path: "/"}, Cluster: &h2}))
}

// A changed cluster warms anew, and its endpoints must follow unasked.
func TestSettingsThatChangeClustersWarmThem(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{Warm: 2 * time.Second})
	b.served(hostOf("shop.test", to("/cart", "cart"), to("/", "web")))
	before := e.Version(envoy.TypeCluster, "shop/web:80")
	settings := route.DefaultSettings()
	settings.ConnectTimeout = 7 * time.Second
	b.server.PublishSettings(route.DefaultGateway, settings)
	b.eventually("the cluster changes", func() bool { return e.Version(envoy.TypeCluster, "shop/web:80") != before && b.idle() })
	b.served(hostOf("shop.test", to("/", "web")))
}

func TestClusterByDNSSettlesBeforeItIsUsed(t *testing.T) {
	options := quick()
	options.DNSGrace = 200 * time.Millisecond
	b := opened(t, options)
	e := b.synced(simulated.Options{})
	bank := clusterOf("bank")
	bank.DNS = "bank.example"
	start := time.Now()
	b.served(hostOf("shop.test", route.Route{Match: route.Match{Path: "/"}, Cluster: &bank}))
	if d := time.Since(start); d < options.DNSGrace {
		t.Errorf("served after %s, before it had time to resolve", d)
	}
	if got, want := virtualHost(e, "shop.test"), "/>"+envoy.ClusterName(bank)+""; got != want {
		t.Errorf("virtual host %q, want %q", got, want)
	}
}

func TestHostWithoutPublishedBackendWaits(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.server.PublishHost(keyOf("shop.test"), hostOf("shop.test", to("/", "web")))
	b.always("not served", func() bool { return !b.server.Host(keyOf("shop.test")).Served && virtualHost(e, "shop.test") == "" })
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web")))
	b.eventually("served when its endpoints are known, even if there are none", func() bool { return b.server.Host(keyOf("shop.test")).Served })
}

func TestGatewaysAreApart(t *testing.T) {
	b := newBed(t, quick())
	b.server.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	b.server.PublishSettings("inner", route.DefaultSettings())
	b.server.Open()
	outer, inner := b.synced(simulated.Options{}), b.synced(simulated.Options{Gateway: "inner"})
	b.served(hostOf("shop.test", to("/", "web")))
	if got := virtualHost(inner, "shop.test"); got != "" {
		t.Errorf("the other gateway serves %q", got)
	}
	innerKey := route.Key{Gateway: "inner", Host: "shop.test"}
	b.publish(&route.Host{Key: innerKey, Routes: []route.Route{to("/", "other")}})
	b.eventually("the inner gateway's host is served", func() bool { return b.server.Host(innerKey).Served })
	if got, want := virtualHost(outer, "shop.test"), "/>shop/web:80"; got != want {
		t.Errorf("the first gateway serves %q, want %q", got, want)
	}
}

func TestEnvoysTellTheirState(t *testing.T) {
	b := opened(t, quick())
	b.synced(simulated.Options{Node: "a"})
	slow := b.synced(simulated.Options{Node: "b"})
	slow.Stall(true)
	b.publish(hostOf("shop.test", to("/", "web")))
	b.eventually("b has something pending", func() bool {
		states := b.server.Envoys()
		return len(states) == 2 && states[1].Pending > 0
	})
	for i, want := range []server.EnvoyState{{Node: "a"}, {Node: "b"}} {
		got := b.server.Envoys()[i]
		if got.Node != want.Node || got.Gateway != route.DefaultGateway || got.Version != "1.40.0" || !got.Synced || got.Since.IsZero() || got.Address == "" {
			t.Errorf("state %d: %+v", i, got)
		}
	}
	slow.Stall(false)
	b.eventually("b catches up", b.idle)
}

// A listener that hands connections on to a cluster is not sent to an Envoy that
// catches up before it has the cluster and its endpoints.
func TestNoListenerBeforeTheClusterThatItNames(t *testing.T) {
	b := secured(t)
	c := b.client()
	c.hello()
	c.ack(c.receive(envoy.TypeCluster))
	c.send(&request{TypeUrl: envoy.TypeListener})
	c.ack(c.receive(envoy.TypeListener))
	raw := hostOf("raw.test", route.Route{Match: route.Match{Path: "/"}, Status: 421, Reason: "TLSPassthrough"})
	raw.Passthrough = new(clusterOf("raw"))
	b.server.PublishBackend(portOf("raw"), backendOf(portOf("raw"), "10.0.0.1"))
	b.server.PublishHost(raw.Key, raw)
	cluster := c.receive(envoy.TypeCluster)
	c.wants(cluster, []string{"shop/raw:80"}, nil)
	c.quiet()
	c.send(&request{TypeUrl: envoy.TypeEndpoints, ResourceNamesSubscribe: []string{"shop/raw:80"}})
	endpoints := c.receive(envoy.TypeEndpoints)
	c.ack(cluster)
	c.quiet()
	c.ack(endpoints)
	c.wants(c.receive(envoy.TypeListener), []string{envoy.HTTPS}, nil)
}
