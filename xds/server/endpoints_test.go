package server_test

import (
	"testing"
	"time"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/server"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// patient are options under which no cluster is removed during a test.
func patient() server.Options {
	options := quick()
	options.ClusterGrace = time.Hour
	return options
}

func TestLastEndpointOfAWantedPortGoes(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "web")))
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web")))
	b.eventually("it is gone", func() bool { return !e.Has(envoy.TypeEndpoints, "shop/web:80", "10.0.0.1") && b.idle() })
	b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.2"))
	b.eventually("another comes", func() bool { return e.Has(envoy.TypeEndpoints, "shop/web:80", "10.0.0.2") })
}

// The old Service is deleted as soon as the host wants a new one: until routes
// have moved, its last endpoint is better than none.
func TestLastEndpointStaysUntilRoutesHaveLeft(t *testing.T) {
	b := opened(t, patient())
	e, slow := b.synced(simulated.Options{}), b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "old")))
	slow.Stall(true)
	b.publish(hostOf("shop.test", to("/", "new")))
	b.server.PublishBackend(portOf("old"), backendOf(portOf("old")))
	b.always("routes and the endpoint stay", func() bool {
		return virtualHost(e, "shop.test") == "/>shop/old:80" && e.Has(envoy.TypeEndpoints, "shop/old:80", "10.0.0.1")
	})
	slow.Stall(false)
	b.eventually("routes have moved", func() bool { return b.server.Host(keyOf("shop.test")).Served })

	// A host that comes back to the port gets its present endpoints.
	b.served(hostOf("shop.test", to("/", "old")))
	for _, e := range []*simulated.Envoy{e, slow} {
		if e.Has(envoy.TypeEndpoints, "shop/old:80", "10.0.0.1") {
			t.Error("routes have come back to an endpoint that is gone")
		}
	}
}

// Within its grace period a cluster may hold endpoints that are not kept up to
// date: routes come back to it when Envoy has the new ones, and not before.
func TestRoutesComeBackToNewEndpoints(t *testing.T) {
	b := opened(t, patient())
	e, slow := b.synced(simulated.Options{}), b.synced(simulated.Options{})
	b.served(hostOf("shop.test", to("/", "old")))
	b.served(hostOf("shop.test", to("/", "new")))
	b.server.PublishBackend(portOf("old"), nil)
	slow.Stall(true)
	b.publish(hostOf("shop.test", to("/", "old")))
	b.server.PublishBackend(portOf("old"), backendOf(portOf("old"), "10.0.0.2"))
	b.eventually("the endpoints are told", func() bool { return e.Has(envoy.TypeEndpoints, "shop/old:80", "10.0.0.2") })
	b.always("routes wait", func() bool { return virtualHost(e, "shop.test") == "/>shop/new:80" })
	slow.Stall(false)
	b.eventually("routes have moved", func() bool { return b.server.Host(keyOf("shop.test")).Served })
}
