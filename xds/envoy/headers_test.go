package envoy_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/xds/route"
)

func headersGateway(t *testing.T, trustedHops uint32) *gateway {
	s := testSettings(t)
	s.TrustedHops = trustedHops
	g := newGateway(t, s, host("shop.test", prefix("/", "web")))
	g.backend(port("web"), reporting(t, "web"))
	g.ready("shop.test")
	return g
}

// forwarded is what a stranger or a proxy says of where a request comes from.
var forwarded = []string{
	"X-Forwarded-For: 203.0.113.7, 203.0.113.8",
	"X-Forwarded-Host: evil.test",
	"X-Forwarded-Proto: https",
	"X-Forwarded-Port: 443",
	"X-Real-Ip: 203.0.113.9",
	"Forwarded: for=203.0.113.9",
}

// picked are the headers of those names, missing ones empty.
func picked(h http.Header, names ...string) map[string]string {
	out := make(map[string]string)
	for _, name := range names {
		out[name] = h.Get(name)
	}
	return out
}

var provenance = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-Ip", "Forwarded"}

func TestAStrangersWordOnWhereItComesFromIsReplaced(t *testing.T) {
	g := headersGateway(t, 0)
	got := g.get("shop.test:8080", "/", forwarded...).seen().Header
	want := map[string]string{
		"X-Forwarded-For":   got.Get("X-Forwarded-For"), // of a client on loopback, Envoy says the machine's address
		"X-Forwarded-Host":  "shop.test:8080",
		"X-Forwarded-Proto": "http",
		"X-Forwarded-Port":  strconv.Itoa(int(g.settings.HTTPPort)),
		"X-Real-Ip":         "127.0.0.1",
		"Forwarded":         "",
	}
	if diff := cmp.Diff(want, picked(got, provenance...)); diff != "" {
		t.Errorf("the backend saw (-want +got):\n%s", diff)
	}
	if !regexp.MustCompile(`^[0-9a-f.:]+$`).MatchString(got.Get("X-Forwarded-For")) || got.Get("X-Forwarded-For") == "203.0.113.8" {
		t.Errorf("X-Forwarded-For is %q, want one address, of the connection", got.Get("X-Forwarded-For"))
	}
}

func TestATrustedProxysWordIsKept(t *testing.T) {
	g := headersGateway(t, 1)
	got := g.get("shop.test", "/", forwarded...).seen().Header
	want := map[string]string{
		"X-Forwarded-For":   got.Get("X-Forwarded-For"),
		"X-Forwarded-Host":  "evil.test",
		"X-Forwarded-Proto": "https",
		"X-Forwarded-Port":  "443",
		"X-Real-Ip":         "203.0.113.8", // the client that the one trusted proxy saw
		"Forwarded":         "for=203.0.113.9",
	}
	if diff := cmp.Diff(want, picked(got, provenance...)); diff != "" {
		t.Errorf("the backend saw (-want +got):\n%s", diff)
	}
	if !regexp.MustCompile(`^203\.0\.113\.7, ?203\.0\.113\.8, ?[0-9a-f.:]+$`).MatchString(got.Get("X-Forwarded-For")) {
		t.Errorf("X-Forwarded-For is %q, want the proxy's and the connection's", got.Get("X-Forwarded-For"))
	}
	got = g.get("shop.test", "/").seen().Header
	if got.Get("X-Forwarded-Host") != "shop.test" || got.Get("X-Forwarded-Proto") != "http" {
		t.Errorf("a proxy that says nothing: host %q, proto %q", got.Get("X-Forwarded-Host"), got.Get("X-Forwarded-Proto"))
	}
}

func TestHeadersOfEnvoyStayInside(t *testing.T) {
	for _, hops := range []uint32{0, 1} {
		g := headersGateway(t, hops)
		r := g.get("shop.test", "/",
			"X-Envoy-Retry-On: 5xx", "X-Envoy-Upstream-Rq-Timeout-Ms: 1", "X-Envoy-Original-Path: /admin",
			"X-Envoy-Internal: true", "X-Envoy-Made-Up: 1", "X-Envoy-Decorator-Operation: x")
		for _, header := range []http.Header{r.seen().Header, r.Header} {
			for name := range header {
				if regexp.MustCompile(`(?i)envoy|fairway`).MatchString(name) {
					t.Errorf("%d trusted hops: %s is seen outside", hops, name)
				}
			}
		}
	}
}

func TestRequestID(t *testing.T) {
	g := headersGateway(t, 0)
	for _, id := range []string{"mine", "01234567-89ab-4def-8123-456789abcdef"} {
		if got := g.get("shop.test", "/", "X-Request-Id: "+id).seen().Header.Get("X-Request-Id"); got != id {
			t.Errorf("a client's request id %q became %q", id, got)
		}
	}
	first := g.get("shop.test", "/").seen().Header.Get("X-Request-Id")
	second := g.get("shop.test", "/").seen().Header.Get("X-Request-Id")
	if len(first) != 36 || first == second {
		t.Errorf("request ids %q and %q, want two UUIDs", first, second)
	}
}

func TestHeadersWithUnderscoresAreDropped(t *testing.T) {
	g := headersGateway(t, 0)
	got := g.get("shop.test", "/", "X_Forwarded_For: 1.2.3.4", "Remote_User: admin", "X-Fine: yes").seen().Header
	want := map[string]string{"X_Forwarded_For": "", "Remote_User": "", "X-Fine": "yes"}
	if diff := cmp.Diff(want, picked(got, "X_Forwarded_For", "Remote_User", "X-Fine")); diff != "" {
		t.Errorf("the backend saw (-want +got):\n%s", diff)
	}
}

func TestHopByHopHeadersEndHere(t *testing.T) {
	g := headersGateway(t, 0)
	got := g.get("shop.test", "/", "Connection: keep-alive, X-Secret", "Keep-Alive: timeout=5",
		"Proxy-Connection: keep-alive", "TE: trailers, gzip").seen().Header
	for _, name := range []string{"Keep-Alive", "Proxy-Connection"} {
		if got.Get(name) != "" {
			t.Errorf("the backend saw %s: %s", name, got.Get(name))
		}
	}
}
