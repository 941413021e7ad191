package server_test

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// away lets f happen while e is not connected, and brings it back.
func (b *bed) away(e *simulated.Envoy, f func()) {
	b.t.Helper()
	n := len(b.server.Envoys())
	e.Disconnect()
	b.eventually("the server notices", func() bool { return len(b.server.Envoys()) == n-1 })
	f()
	e.Connect()
	b.eventually("it catches up", func() bool { return len(b.server.Envoys()) == n && b.idle() })
}

// redirect connects e, an Envoy of another bed, and waits until it has caught up.
func (b *bed) redirect(e *simulated.Envoy) {
	b.t.Helper()
	conn, err := b.wire.Dial()
	if err != nil {
		b.t.Fatal(err)
	}
	b.conns = append(b.conns, conn)
	n := len(b.server.Envoys())
	e.Redirect(conn)
	e.Connect()
	b.eventually("it has caught up", func() bool { return len(b.server.Envoys()) == n+1 && b.idle() })
}

// A configuration that differs in everything from what the Envoy left with is led to
// in order: nothing that it serves is taken away before it lets go.
func TestReconnectToAnotherPicture(t *testing.T) {
	b := opened(t, quick())
	e, other := b.synced(simulated.Options{}), b.synced(simulated.Options{})
	b.served(hostOf("stays.test", to("/", "web")))
	b.served(hostOf("changes.test", to("/", "old")))
	b.served(hostOf("goes.test", to("/", "gone")))
	b.away(e, func() {
		b.served(hostOf("changes.test", to("/", "new")))
		b.withdraw("goes.test")
		b.served(hostOf("comes.test", to("/", "newer")))
		b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.2"))
		b.eventually("what nobody uses is removed", func() bool {
			return other.Body(envoy.TypeCluster, "shop/old:80") == nil && other.Body(envoy.TypeCluster, "shop/gone:80") == nil
		})
	})
	diffPictures(t, "the one that was away", versionsOf(e), "the one that stayed", versionsOf(other))
	if !e.Has(envoy.TypeEndpoints, "shop/web:80", "10.0.0.2") {
		t.Error("the endpoints that changed meanwhile are not told")
	}
}

func TestReconnectSendsOnlyDifferences(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	for _, name := range inShard(20) {
		b.served(hostOf(name, to("/", string(name[:2]))))
	}
	b.served(hostOf("shop.test", to("/", "web")))
	before := e.Statistics().Resources
	b.away(e, func() { b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.2")) })
	if n := e.Statistics().Resources - before; n != 1 {
		t.Errorf("%d resources were sent, want the one that changed", n)
	}
}

func TestRestartedEnvoyGetsEverything(t *testing.T) {
	b := opened(t, quick())
	e, other := b.synced(simulated.Options{}), b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	b.served(hostOf("*.shop.test", to("/", "cart")))
	e.Restart()
	b.eventually("it catches up", func() bool { return e.Ready() && b.idle() && len(b.server.Envoys()) == 2 })
	diffPictures(t, "restarted", versionsOf(e), "other", versionsOf(other))
}

// The stream ends between a cluster and its endpoints: then Envoy asks for
// endpoints it has, and not for clusters, until they come.
func TestReconnectWhileAClusterWarms(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{Warm: 3 * time.Second})
	b.served(hostOf("shop.test", to("/", "web")))
	e.Stall(true)
	settings := route.DefaultSettings()
	settings.ConnectTimeout = 9 * time.Second
	before := e.Statistics().Responses
	e.DropAfter(envoy.TypeCluster)
	b.server.PublishSettings(route.DefaultGateway, settings)
	b.eventually("the cluster is told", func() bool { return e.Statistics().Responses > before })
	e.Stall(false)
	b.served(hostOf("shop.test", to("/cart", "cart"), to("/", "web")))
	b.eventually("all is settled", b.idle)
}

// A cluster that has changed meanwhile goes out at once, even before Envoy gets
// to ask for endpoints. It warms until they come, be they ones that Envoy knows.
func TestReconnectSendsEndpointsOfAChangedCluster(t *testing.T) {
	b := inUse(t)
	versions := func(r *discoveryv3.DeltaDiscoveryResponse, of string) map[string]string {
		return map[string]string{r.GetResources()[0].GetName(): of}
	}
	earlier := b.client()
	earlier.hello()
	clusters := earlier.receive(envoy.TypeCluster)
	earlier.send(&request{TypeUrl: envoy.TypeEndpoints, ResourceNamesSubscribe: []string{"shop/web:80"}})
	endpoints := earlier.receive(envoy.TypeEndpoints)

	c := b.client()
	c.send(&request{
		Node: &corev3.Node{Id: "hand", Cluster: "default"}, TypeUrl: envoy.TypeCluster,
		InitialResourceVersions: versions(clusters, "another"),
	})
	c.wants(c.receive(envoy.TypeCluster), []string{"shop/web:80"}, nil)
	c.send(&request{
		TypeUrl: envoy.TypeEndpoints, ResourceNamesSubscribe: []string{"shop/web:80"},
		InitialResourceVersions: versions(endpoints, endpoints.GetResources()[0].GetVersion()),
	})
	c.wants(c.receive(envoy.TypeEndpoints), []string{"shop/web:80"}, nil)
}

// Another replica knows the same values and hence the same versions.
func TestReconnectToAnotherReplica(t *testing.T) {
	first, second := opened(t, quick()), opened(t, quick())
	for _, b := range []*bed{first, second} {
		b.publish(hostOf("shop.test", to("/", "web")))
		b.publish(hostOf("*.shop.test", to("/", "cart")))
	}
	e := first.synced(simulated.Options{})
	before := e.Statistics().Resources
	e.Disconnect()
	second.redirect(e)
	if n := e.Statistics().Resources - before; n != 0 {
		t.Errorf("%d resources were sent, want none", n)
	}
	second.served(hostOf("shop.test", to("/", "other")))
	e.Disconnect()
}

// A server that has just started may know less than the Envoy: what the Envoy
// serves is taken away in order, too.
func TestReconnectToAnEmptyPicture(t *testing.T) {
	first, second := opened(t, quick()), opened(t, quick())
	first.publish(hostOf("shop.test", to("/", "web")))
	first.publish(hostOf(route.AnyHost, to("/", "cart")))
	e := first.synced(simulated.Options{})
	fresh := second.synced(simulated.Options{})
	e.Disconnect()
	second.redirect(e)
	diffPictures(t, "redirected", versionsOf(e), "fresh", versionsOf(fresh))
	e.Disconnect()
}
