package server_test

import (
	"fmt"
	"testing"

	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// A gateway that was withdrawn costs nothing, once its hosts are
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
			if !b.server.HasGateway("inner") {
				t.Error("forgotten while an Envoy is connected")
			}
			e.Disconnect()
			b.eventually("the gateway is forgotten", func() bool { return !b.server.HasGateway("inner") })
			b.server.PublishHost(key, nil) // late, and no news
			b.server.WithdrawGateway("inner")
			if b.server.HasGateway("inner") || !b.server.HasGateway(route.DefaultGateway) {
				t.Error("a removal makes a gateway")
			}
		})
	}
}

// Whatever a gateway has, and whatever of it goes first: when all is withdrawn, the
// gateway is forgotten; while an Envoy is connected, the hosts at least.
func TestAWithdrawnGatewayIsForgottenInAnyOrder(t *testing.T) {
	soak.Bulk(t)
	key := func(host route.Hostname) route.Key { return route.Key{Gateway: "inner", Host: host} }
	inner := func(h *route.Host) *route.Host {
		h.Key.Gateway = "inner"
		return h
	}
	passed := inner(hostOf("raw.test", route.Route{Match: route.Match{Path: "/"}, Status: 421, Reason: "TLSPassthrough"}))
	passed.Passthrough = new(clusterOf("web"))
	hosts := map[string]*route.Host{
		"plain": inner(hostOf("shop.test", to("/", "web"))), "guarded": inner(guarded("staff.test", "staff-ca")),
		"guarded wildcard": inner(guarded("*.staff.test", "staff-ca")), "guarded default": inner(guarded(route.AnyHost, "staff-ca")),
		"passed on": passed,
	}
	for name, host := range hosts {
		for _, connected := range []bool{true, false} {
			for first := range 4 {
				t.Run(fmt.Sprintf("%s, connected %t, %d first", name, connected, first), func(t *testing.T) {
					t.Parallel()
					b := newBed(t, quick())
					settings := route.DefaultSettings()
					settings.HTTPSPort = 443
					b.server.PublishSettings("inner", settings)
					b.server.PublishClientCA(secretOf("staff-ca"), []byte("authorities"))
					b.server.PublishCertificate(key("staff.test"), certificateOf("staff"))
					b.server.Open()
					var e *simulated.Envoy
					if connected {
						e = b.synced(simulated.Options{Gateway: "inner"})
					}
					b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), "10.0.0.1"))
					b.server.PublishHost(host.Key, host)
					if connected {
						b.eventually("the host is served", func() bool { return b.server.Host(host.Key).Served })
					}
					withdrawals := []func(){
						func() { b.server.WithdrawGateway("inner") },
						func() { b.server.PublishHost(host.Key, nil) },
						func() { b.server.PublishClientCA(secretOf("staff-ca"), nil) },
						func() { b.server.PublishCertificate(key("staff.test"), nil) },
					}
					for i := range withdrawals {
						withdrawals[(first+i)%len(withdrawals)]()
					}
					if connected {
						b.eventually("the host is gone", func() bool { return !b.server.Host(host.Key).Withdrawing && b.idle() })
						if names := b.server.WaitingHosts(); len(names) > 0 {
							t.Errorf("something waits: %v", names)
						}
						_, chains := listenerOf(t, e)
						b.eventually("its chain is gone", func() bool {
							_, chains = listenerOf(t, e)
							return len(chains) == len(always())
						})
						b.mayDrop(e).Disconnect()
					}
					b.server.PublishBackend(portOf("web"), nil)
					b.isForgotten()
				})
			}
		}
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
