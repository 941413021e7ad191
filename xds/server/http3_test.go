package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

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

// A name with a host of its own does without looking for others; the listener
// changes when that host comes or goes, and not when others do.
func TestHTTP3OfNamesWithAHost(t *testing.T) {
	b := opened(t, quick())
	b.server.PublishSettings(route.DefaultGateway, withHTTP3())
	e := b.synced(simulated.Options{})
	size := func() int { return len(e.Body(envoy.TypeListener, "http3")) }
	b.server.PublishCertificate(keyOf("shop.test"), certificateOf("shop"))
	b.eventually("the name is listed", func() bool { return len(listed(t, e)) == 1 })
	whole := size()
	b.served(hostOf("*.test", to("/", "web")))
	b.always("the chain looks for others", func() bool { return size() == whole })
	b.served(hostOf("shop.test", to("/", "web")))
	b.eventually("the chain is smaller", func() bool { return size() < whole })
	b.withdraw("shop.test")
	b.eventually("the chain looks for others", func() bool { return size() == whole })
}

// Names whose clients have to show a certificate, or whose TLS is passed on, are not
// served over HTTP/3.
func TestHTTP3LeavesOutWhatHasAPolicy(t *testing.T) {
	b := opened(t, quick())
	b.server.PublishSettings(route.DefaultGateway, withHTTP3())
	e := b.synced(simulated.Options{})
	for _, name := range []route.Hostname{"open.test", "staff.test", "passed.test", "*.staff.test"} {
		b.server.PublishCertificate(keyOf(name), certificateOf(string(name)))
	}
	b.eventually("all names", func() bool { return len(listed(t, e)) == 4 })
	policy := &route.ClientPolicy{CA: types.NamespacedName{Namespace: "shop", Name: "staff-ca"}, Required: true}
	for _, name := range []route.Hostname{"staff.test", "*.staff.test"} {
		guarded := hostOf(name, to("/", "web"))
		guarded.Client = policy
		b.publish(guarded)
	}
	passed := hostOf("passed.test")
	passed.Passthrough = new(clusterOf("web"))
	b.publish(passed)
	b.eventually("the open one alone", func() bool { return slices.Equal(listed(t, e), []string{"open.test"}) })
	b.publish(hostOf("staff.test", to("/", "web")))
	b.eventually("staff.test is open, too", func() bool { return slices.Equal(listed(t, e), []string{"open.test", "staff.test"}) })
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
