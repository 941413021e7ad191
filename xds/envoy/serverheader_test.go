package envoy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// What clients are told in Server, over each protocol, under each kind of host, by
// a backend that says it, by one that does not, and by the gateway itself.
func TestServerHeader(t *testing.T) {
	for choice, want := range map[route.ServerHeader]struct{ named, silent string }{
		route.ServerHeaderIfAbsent:    {"orchard/1.2", "fairway"},
		route.ServerHeaderPassThrough: {"orchard/1.2", ""},
		route.ServerHeaderRemove:      {"", ""},
	} {
		t.Run(string(choice), func(t *testing.T) { testServerHeader(t, choice, want.named, want.silent) })
	}
}

func testServerHeader(t *testing.T, choice route.ServerHeader, named, silent string) {
	s := testSettings(t)
	s.HTTPSPort, s.TLS.HTTP3, s.ServerHeader = freeport.Get(t), true, choice
	routes := func() []route.Route {
		return []route.Route{prefix("/named", "named"), prefix("/silent", "silent"), prefix("/dead", "dead")}
	}
	hosts := []*route.Host{
		host("shop.test", routes()...), host("*.shop.test", routes()...), host("*", routes()...),
		guardedHost("staff.test", "staff-ca optional", prefix("/", "silent")),
	}
	g := &quicGateway{gateway: newGateway(t, s, hosts...)}
	g.backend(port("named"), serving(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server", "orchard/1.2") }))
	g.backend(port("silent"), serving(t, func(http.ResponseWriter, *http.Request) {}))
	g.backend(port("dead"), "127.0.0.1:1")
	g.ads.publish(envoy.ClientCA(policyOf("staff-ca optional").CA, newSigner(t, "staff").pem))
	for _, name := range []string{"shop.test", "staff.test"} {
		chain, key := certificate(t, name)
		g.ads.publish(envoy.Secret(name, chain, key))
	}
	chain, key := certificate(t, "shop.test")
	g.list("shop.test", chain, key)
	g.listen(chainsOf(hosts...))
	for _, path := range []string{"/named", "/silent"} {
		g.eventually(path, func() error { return want(g.get("shop.test", path), http.StatusOK) })
	}
	check := func(what string, r reply, status int, want string) {
		t.Helper()
		if got := strings.Join(r.Header.Values("Server"), " and "); got != want || r.StatusCode != status {
			t.Errorf("%s: %d, Server is %q, want %d and %q", what, r.StatusCode, got, status, want)
		}
	}
	for _, host := range []string{"shop.test", "SHOP.test.:8080", "a.shop.test", "unknown.test"} {
		check(host+" named", g.get(host, "/named"), 200, named)
		check(host+" silent", g.get(host, "/silent"), 200, silent)
		check(host+" nothing", g.get(host, "/nothing"), 404, silent)
		check(host+" dead", g.get(host, "/dead"), 503, silent)
		check(host+" refused", g.get(host, "/%2e%2e;/x"), 403, silent)
		check(host+" redirected", g.get(host, "/a%2fb"), 307, silent)
	}
	check("no host", g.get("a,b", "/"), 400, silent)
	check("malformed", g.raw("GET / HTTP/1.1\nHost: shop.test\nContent-Length: x\n\n"), 400, silent)
	for name, status := range map[string]int{"shop.test": 404, "staff.test": 200} {
		r, err := g.overHTTPS(name, nil, name)
		if err != nil {
			t.Fatal(err)
		}
		check(name+" over HTTPS", r, status, silent)
	}
	g.presents("shop.test", chain)
	for path, want := range map[string]string{"/named": named, "/silent": silent} {
		r, err := getH3(t, g.h3("shop.test"), "shop.test", path)
		if err != nil {
			t.Fatal(err)
		}
		check(path+" over HTTP/3", r, 200, want)
	}
	for path, want := range map[string]string{"/named": named, "/silent": silent, "/nothing": silent} {
		headers := g.h2Ended(":method", "GET", ":scheme", "http", ":path", path, ":authority", "shop.test").got
		if headers["server"] != want {
			t.Errorf("%s over HTTP/2: Server is %q, want %q", path, headers["server"], want)
		}
	}
}
