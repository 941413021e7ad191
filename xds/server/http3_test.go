package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

func withHTTP3() route.Settings {
	s := route.DefaultSettings()
	s.HTTPSPort, s.TLS.HTTP3 = 443, true
	return s
}

// listed are the chains that an Envoy's listener of HTTP/3 has; nil: it has none.
func listed(t *testing.T, e *simulated.Envoy) []string {
	t.Helper()
	body := e.Body(envoy.TypeListener, "http3")
	if body == nil {
		return nil
	}
	var listener listenerv3.Listener
	if err := proto.Unmarshal(body, &listener); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, chain := range listener.GetFilterChains() {
		names = append(names, chain.GetName())
	}
	return names
}

// The listener of HTTP/3 has a chain for each name with a certificate, in order,
// and one for others; it goes with the setting, and comes back.
func TestTheNamesOfHTTP3(t *testing.T) {
	b := newBed(t, quick())
	b.server.PublishSettings(route.DefaultGateway, withHTTP3())
	b.server.PublishCertificate(keyOf("b.test"), certificateOf("b"))
	b.server.PublishCertificate(keyOf("*.a.test"), certificateOf("a"))
	b.server.Open()
	e := b.synced(simulated.Options{})
	has := func(want ...string) {
		t.Helper()
		b.eventually(fmt.Sprintf("chains %q", want), func() bool { return slices.Equal(listed(t, e), want) })
	}
	has("*.a.test", "b.test")
	b.server.PublishCertificate(route.Key{Host: route.AnyHost}, certificateOf("default"))
	has("*.a.test", "b.test", "*")
	b.server.PublishCertificate(keyOf("a.test"), certificateOf("exact"))
	has("*.a.test", "a.test", "b.test", "*")
	b.server.PublishCertificate(keyOf("b.test"), nil)
	has("*.a.test", "a.test", "*")
	b.server.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	has()
	b.server.PublishCertificate(keyOf("*.a.test"), nil)
	b.server.PublishSettings(route.DefaultGateway, withHTTP3())
	has("a.test", "*")
}

// The secret of a listed name is that of its own certificate: neither that of a
// wildcard, nor anything else once that is gone and Envoy still asks.
func TestSecretsOfHTTP3(t *testing.T) {
	b := opened(t, quick())
	b.server.PublishSettings(route.DefaultGateway, withHTTP3())
	b.server.PublishCertificate(keyOf("*.shop.test"), certificateOf("wildcard"))
	b.server.PublishCertificate(keyOf("a.shop.test"), certificateOf("exact"))
	exact, wildcard := envoy.ListedSecret("a.shop.test"), envoy.ListedSecret("*.shop.test")
	a := b.asker()
	a.asks(exact, wildcard, envoy.ListedSecret("b.shop.test"))
	a.hears()
	if !strings.Contains(a.has[exact], "exact") || !strings.Contains(a.has[wildcard], "wildcard") {
		t.Errorf("it has %q", a.has)
	}
	if !slices.Equal(a.gone, []string{envoy.ListedSecret("b.shop.test")}) {
		t.Errorf("absent are %q", a.gone)
	}
	b.server.PublishCertificate(keyOf("a.shop.test"), nil)
	b.server.PublishCertificate(keyOf("*.shop.test"), certificateOf("renewed"))
	a.hears()
	if !strings.Contains(a.has[exact], "exact") || !strings.Contains(a.has[wildcard], "renewed") {
		t.Errorf("later it has %q", a.has)
	}
}

// Names beyond the bound have no chain.
func TestHTTP3IsBounded(t *testing.T) {
	b := newBed(t, quick())
	b.server.PublishSettings(route.DefaultGateway, withHTTP3())
	for i := range 600 {
		b.server.PublishCertificate(keyOf(route.Hostname(fmt.Sprintf("h%03d.test", i))), certificateOf("one"))
	}
	b.server.Open()
	e := b.synced(simulated.Options{})
	if names := listed(t, e); len(names) != 500 || names[499] != "h499.test" {
		t.Errorf("%d chains", len(names))
	}
}
