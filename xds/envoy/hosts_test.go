package envoy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// hosts is a gateway with an exact, a wildcard and a default host side by side.
func hostsGateway(t *testing.T) *gateway {
	g := newGateway(t, testSettings(t),
		host("shop.test", prefix("/", "exact")),
		host("paths.test", prefix("/only", "exact")),
		host("www.shop.test", prefix("/", "www")),
		host("*.shop.test", prefix("/", "wildcard")),
		host("*.paths.shop.test", prefix("/only", "wildcard")),
		host("*", prefix("/", "default")),
	)
	for _, name := range []string{"exact", "www", "wildcard", "default"} {
		g.backend(port(name), reporting(t, name))
	}
	g.ready("shop.test", "www.shop.test", "a.shop.test", "other.test")
	return g
}

func TestARequestFindsItsHostInAnySpelling(t *testing.T) {
	g := hostsGateway(t)
	for _, c := range []struct{ host, want string }{
		{"shop.test", "exact"},
		{"shop.test:80", "exact"},
		{"shop.test:8080", "exact"},
		{"shop.test.", "exact"},
		{"SHOP.test", "exact"},
		{"Shop.Test.:8080", "exact"},
		{"www.shop.test", "www"},
		{"WWW.Shop.Test:81", "www"},
		{"a.shop.test", "wildcard"},
		{"A.SHOP.TEST.", "wildcard"},
		{"a.Shop.Test.:8080", "wildcard"},
		{"xn--bcher-kva.shop.test", "wildcard"},
		{"a.b.shop.test", "default"},
		{"a.www.shop.test", "default"},
		{".shop.test", "default"},
		{"notshop.test", "default"},
		{"other.test", "default"},
		{"test", "default"},
		{"localhost:8080", "default"},
		{"10.0.0.1", "default"},
		{"10.0.0.1:80", "default"},
		{"[::1]", "default"},
		{"[2001:db8::1]:8080", "default"},
		{"[::ffff:10.0.0.1]:80", "default"},
		{"", "default"},
		{".", "default"},
		{":80", "default"},
		{"*", "default"},
	} {
		if got := g.get(c.host, "/").seen(); got.Backend != c.want {
			t.Errorf("Host %q: answered by %q, want %q", c.host, got.Backend, c.want)
		} else if got.Host != c.host {
			t.Errorf("Host %q: the backend saw %q", c.host, got.Host)
		}
	}
}

func TestAHostThatIsServedNeverFallsThrough(t *testing.T) {
	g := hostsGateway(t)
	for _, host := range []string{"paths.test", "PATHS.test:80", "a.paths.shop.test"} {
		r := g.get(host, "/other")
		if r.StatusCode != http.StatusNotFound || r.Text != "Nothing is served at this path.\n" {
			t.Errorf("%s/other: %d %q, want our 404", host, r.StatusCode, r.Text)
		}
	}
	r := g.raw("OPTIONS * HTTP/1.1\nHost: paths.test\n\n")
	if r.seen().Backend != "" || r.StatusCode < 400 {
		t.Errorf("OPTIONS *: %d from %q, want a refusal", r.StatusCode, r.seen().Backend)
	}
	r = g.raw("CONNECT paths.test:443 HTTP/1.1\nHost: paths.test:443\n\n")
	if r.StatusCode < 400 {
		t.Errorf("CONNECT: %d, want a refusal", r.StatusCode)
	}
}

func TestAClientCannotChooseItsHostOtherwise(t *testing.T) {
	g := hostsGateway(t)
	for _, c := range []struct{ host, header, want string }{
		{"other.test", "X-Fairway-Host: shop.test", "default"},
		{"", "X-Fairway-Host: shop.test", "default"},
		{"shop.test", "X-Fairway-Host: www.shop.test", "exact"},
		{"a.shop.test", "x-fairway-host: shard default", "wildcard"},
		{"other.test", "X-Fairway-Host: * shop.test", "default"},
		{"other.test", "X_Fairway_Host: shop.test", "default"},
		{"other.test", "X-Forwarded-Host: shop.test", "default"},
	} {
		got := g.get(c.host, "/", c.header).seen()
		if got.Backend != c.want {
			t.Errorf("Host %q with %q: answered by %q, want %q", c.host, c.header, got.Backend, c.want)
		}
		for name := range got.Header {
			if strings.Contains(strings.ToLower(name), "fairway") {
				t.Errorf("Host %q with %q: the backend sees %s", c.host, c.header, name)
			}
		}
	}
	for _, host := range []string{"* shop.test", "shard default", "shop.test/x"} {
		if r := g.get(host, "/"); r.StatusCode != http.StatusBadRequest {
			t.Errorf("Host %q: %d, want 400", host, r.StatusCode)
		}
	}
}

func TestARequestWithoutOneHostIsRefused(t *testing.T) {
	g := hostsGateway(t)
	for _, request := range []string{
		"GET / HTTP/1.1\n\n",
		"GET / HTTP/1.1\nHost: shop.test\nHost: other.test\n\n",
		"GET / HTTP/1.1\nHost: shop.test\nHost: shop.test\n\n",
		"GET / HTTP/1.1\nHost: shop.test:80,other.test\n\n",
		"GET / HTTP/1.1\nHost: shop.test:80.other.test\n\n",
		"GET / HTTP/1.1\nHost: shop.test:x\n\n",
		"GET / HTTP/1.1\nHost: user@shop.test\n\n",
		"GET / HTTP/1.1\nHost: [::1\n\n",
		"GET / HTTP/1.1\nHost: [shop.test]\n\n",
		"GET / HTTP/1.1\nHost : shop.test\n\n",
	} {
		if r := g.raw(request); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d, want 400", request, r.StatusCode)
		}
	}
	if got := g.raw("GET / HTTP/1.0\nHost: shop.test\n\n").seen(); got.Backend != "exact" {
		t.Errorf("HTTP/1.0: answered by %q, want exact", got.Backend)
	}
	if got := g.raw("GET / HTTP/1.0\n\n").seen(); got.Backend != "default" {
		t.Errorf("HTTP/1.0 without a host: answered by %q, want default", got.Backend)
	}
	// The absolute form names the host, whatever the header says (RFC 9112, 3.2.2).
	if got := g.raw("GET http://shop.test/ HTTP/1.1\nHost: other.test\n\n").seen(); got.Backend != "exact" {
		t.Errorf("absolute form: answered by %q, want exact", got.Backend)
	}
}

func TestAWildcardWithoutItsVirtualHostIsNotAnothersSubdomain(t *testing.T) {
	g := newGateway(t, testSettings(t), host("*.shop.test", prefix("/", "wildcard")))
	g.backend(port("wildcard"), reporting(t, "wildcard"))
	g.ready("a.shop.test")
	// A scope whose virtual host its shard does not hold: what the moment
	// between the two looks like. The parent's is in the same shard.
	scope := envoy.Scope("*.b.shop.test")
	g.ads.publish(rescoped(t, scope, envoy.ShardOf("*.shop.test")))
	if r := g.get("a.b.shop.test", "/"); r.StatusCode != http.StatusNotFound {
		t.Errorf("%d from %q, want 404", r.StatusCode, r.seen().Backend)
	}
}

func TestHostsComeAndGo(t *testing.T) {
	g := newGateway(t, testSettings(t))
	if r := g.get("shop.test", "/"); r.StatusCode != http.StatusNotFound || r.Text != "No site is served under this name.\n" {
		t.Fatalf("an empty gateway: %d %q, want our 404", r.StatusCode, r.Text)
	}
	g.backend(port("web"), reporting(t, "web"))
	for _, name := range []string{"shop.test", "*.shop.test", "*"} {
		g.serve(host(name, prefix("/", "web")))
		request := strings.Replace(name, "*", "some", 1)
		g.eventually(name+" comes", func() error { return want(g.get(request, "/"), http.StatusOK) })
		scope := envoy.Scope(route.Hostname(name))
		scope.Body = nil
		g.ads.publish(scope)
		g.eventually(name+" goes", func() error { return want(g.get(request, "/"), http.StatusNotFound) })
	}
}
