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

// forwarded holds the headers in which a client or a proxy claims the origin of a
// request.
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

// lookalikes are the names with one hyphen or more replaced by underscores.
func lookalikes(names ...string) []string {
	var all []string
	for _, name := range names {
		spellings := []string{""}
		for i, part := range strings.Split(name, "-") {
			var longer []string
			for _, begin := range spellings {
				if i == 0 {
					longer = append(longer, part)
				} else {
					longer = append(longer, begin+"-"+part, begin+"_"+part)
				}
			}
			spellings = longer
		}
		all = append(all, spellings[1:]...) // the first is the name itself
	}
	return all
}

// Headers with an underscore are dropped, or refused, or kept; those that read as
// one of the gateway's own reach no backend either way.
func TestHeadersWithUnderscores(t *testing.T) {
	var forged []string
	for i, name := range lookalikes("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-client-cert",
		"x-real-ip", "x-request-id", "x-envoy-internal", "x-envoy-retry-on", "x-fairway-host", "x-fairway-client") {
		if i%2 == 0 {
			name = strings.ToUpper(name)
		}
		forged = append(forged, name+": 1")
	}
	for choice, want := range map[route.Underscores]struct {
		status int
		kept   string
	}{
		route.UnderscoresDrop:   {http.StatusOK, ""},
		route.UnderscoresReject: {http.StatusBadRequest, ""},
		route.UnderscoresKeep:   {http.StatusOK, "admin"},
	} {
		t.Run(string(choice), func(t *testing.T) {
			s := testSettings(t)
			s.UnderscoresInHeaders = choice
			g := newGateway(t, s, host("shop.test", prefix("/", "web")), host("*.shop.test", prefix("/", "web")), host("*", prefix("/", "web")))
			g.backend(port("web"), reporting(t, "web"))
			g.ready("shop.test")
			for _, host := range []string{"shop.test", "SHOP.test.:80", "a.shop.test", "unknown.test"} {
				r := g.get(host, "/", append(forged, "Remote_User: admin", "X-Fine: yes")...)
				got := r.seen().Header
				if r.StatusCode != want.status || got.Get("Remote_User") != want.kept || want.status == http.StatusOK && got.Get("X-Fine") != "yes" {
					t.Errorf("%s: %d, and the backend saw %v", host, r.StatusCode, got)
				}
				for name := range got {
					if strings.Contains(name, "_") && name != "Remote_user" {
						t.Errorf("%s: the backend saw %s", host, name)
					}
				}
				if r := g.get(host, "/", "X-Fine: yes"); r.StatusCode != http.StatusOK {
					t.Errorf("%s: %d without any", host, r.StatusCode)
				}
			}
			status, got := g.h2(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "shop.test", "remote_user", "admin", "x_real_ip", "1")
			isRefused := status == "" || status == "400"
			if isRefused != (want.status != http.StatusOK) || got.Header.Get("Remote_user") != want.kept || got.Header.Get("X_real_ip") != "" {
				t.Errorf("HTTP/2: %s, and the backend saw %v", status, got.Header)
			}
		})
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
