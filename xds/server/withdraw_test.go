package server_test

import (
	"fmt"
	"testing"

	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// A gateway that nobody names any more costs nothing, once its hosts are
// withdrawn and its last Envoy has left.
func TestAWithdrawnGatewayIsForgotten(t *testing.T) {
	for _, order := range []string{"gateway first", "host first"} {
		t.Run(order, func(t *testing.T) {
			b := opened(t, quick())
			b.server.PublishSettings("inner", route.DefaultSettings())
			e := b.synced(simulated.Options{Gateway: "inner"})
			key := route.Key{Gateway: "inner", Host: "shop.test"}
			b.publish(&route.Host{Key: key, Routes: []route.Route{to("/", "web")}})
			b.eventually("the host is served", func() bool { return b.server.Host(key).Served })

			if order == "gateway first" {
				b.server.WithdrawGateway("inner")
				b.always("the Envoy keeps what it has", func() bool { return virtualHost(e, "shop.test") != "" && e.Ready() })
				b.server.PublishHost(key, nil)
			} else {
				b.server.PublishHost(key, nil)
				b.server.WithdrawGateway("inner")
			}
			b.eventually("the host is withdrawn", func() bool { return virtualHost(e, "shop.test") == "" })
			if !b.server.Knows("inner") {
				t.Error("forgotten while an Envoy is connected")
			}
			e.Disconnect()
			b.eventually("the gateway is forgotten", func() bool { return !b.server.Knows("inner") })
			b.server.PublishHost(key, nil) // late, and no news
			b.server.WithdrawGateway("inner")
			if b.server.Knows("inner") || !b.server.Knows(route.DefaultGateway) {
				t.Error("a removal makes a gateway")
			}
		})
	}
}

// A gateway that comes back finds the Envoys that have stayed.
func TestAWithdrawnGatewayComesBack(t *testing.T) {
	b := opened(t, quick())
	b.server.PublishSettings("inner", route.DefaultSettings())
	e := b.synced(simulated.Options{Gateway: "inner"})
	b.server.WithdrawGateway("inner")
	b.server.PublishSettings("inner", route.DefaultSettings())
	key := route.Key{Gateway: "inner", Host: "shop.test"}
	b.publish(&route.Host{Key: key, Routes: []route.Route{to("/", "web")}})
	b.eventually("the host is served", func() bool { return virtualHost(e, "shop.test") != "" && b.server.Host(key).Served })
}

// A change of settings costs what it touches: a listener, and no host.
func TestAChangeOfSettingsTouchesNoHost(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	for i := range 50 {
		name := fmt.Sprintf("shop-%d.test", i)
		b.served(hostOf(route.Hostname(name), to("/", "web")))
	}
	before := e.Statistics().Resources
	settings := route.DefaultSettings()
	settings.TrustedHops, settings.AccessLogFields = 2, []route.LogField{route.LogStatus}
	b.server.PublishSettings(route.DefaultGateway, settings)
	b.eventually("the listener changes", func() bool { return e.Statistics().Resources > before && b.idle() })
	if n := e.Statistics().Resources - before; n != 1 {
		t.Errorf("%d resources are sent, want the listener alone", n)
	}
}
