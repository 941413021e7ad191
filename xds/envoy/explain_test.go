package envoy_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/xds/route"
)

// targetParts are what confuses gateways and backends.
var targetParts = []string{
	"/", "/", "/", "a", "b", "admin", "cart", ".", "..", "%2e", "%2E", ";", ";x=y", "%61", "%41", "%7E", "~", "%2f", "%2F",
	"%5c", "%5C", `\`, "%", "%z", "%2", "%00", "%25", "%252f", "%3F", "%3b", "%20", "+", "é", "%C3%A9", "%c3", `"`, "<", "|", "^", "`", "{",
	"[", "]", ":", "@", "!", "*", "'", "(", "?", "?x=/../", "//", "/./", "/../", "/..;/", "/.;/", "#",
}

func randomTarget(random *rand.Rand) string {
	target := "/"
	for range random.IntN(8) {
		target += targetParts[random.IntN(len(targetParts))]
	}
	return target
}

var authorities = []string{
	"shop.test", "shop.test:8080", "SHOP.test.", "a.shop.test", "A.Shop.Test:1", "a.b.shop.test", "other.test", "shop.test..",
	".shop.test", "10.0.0.1", "[::1]:80", "[::ffff:1.2.3.4]", "", ":80", "shop.test:x", "user@shop.test", "shop.test,other.test",
	"[::1", "[shop.test]", "shop test", "shop.test/x", "shop_test", "a-.shop.test", "shop.test:80:80", "*", "*.shop.test", "%41.shop.test",
	"a..shop.test", "paths.test", "é.shop.test", "a~b.shop.test", "[]", "[::1]x", "a;b.shop.test", "a'b.shop.test", "shop.test%",
}

// A real Envoy treats a request as route.Explain says.
func TestExplanationsAgreeWithEnvoy(t *testing.T) {
	for _, choice := range []route.EscapedSlashes{route.EscapedSlashesRedirect, route.EscapedSlashesReject, route.EscapedSlashesKeep} {
		t.Run(string(choice), func(t *testing.T) {
			s := testSettings(t)
			s.EscapedSlashes = choice
			missing := route.Route{Match: route.Match{Path: "/b"}, Status: 503, Reason: "BackendNotFound"}
			hosts := map[route.Hostname]*route.Host{}
			for _, h := range []*route.Host{
				host("shop.test", exactly("/admin", "one"), prefix("/admin", "two"), missing, prefix("/", "root")),
				host("*.shop.test", prefix("/a", "two"), prefix("/", "wild")),
				host("paths.test", prefix("/cart", "two")),
				host("*", prefix("/", "any")),
			} {
				hosts[h.Key.Host] = h
			}
			g := newGateway(t, s)
			for _, name := range []string{"one", "two", "root", "wild", "any"} {
				g.backend(port(name), reporting(t, name))
			}
			for _, h := range hosts {
				g.serve(h)
			}
			for _, url := range []string{"shop.test/", "shop.test/admin", "shop.test/admin/", "a.shop.test/", "paths.test/cart", "other.test/"} {
				name, path, _ := strings.Cut(url, "/")
				g.eventually(url+" is served", func() error { return want(g.get(name, "/"+path), http.StatusOK) })
			}
			find := func(name route.Hostname) *route.Host { return hosts[name] }
			connect := route.Explain(s, find, route.Request{Authority: "shop.test:443", Method: http.MethodConnect})
			if r := g.raw("CONNECT shop.test:443 HTTP/1.1\nHost: shop.test:443\n\n"); r.StatusCode != connect.Status {
				t.Errorf("CONNECT: %d, and explained as %d", r.StatusCode, connect.Status)
			}
			forSeeds(t, 5, func(t *testing.T, random *rand.Rand) {
				for range 400 {
					request := route.Request{Authority: authorities[0], Target: randomTarget(random), Method: http.MethodGet}
					if random.IntN(2) == 0 {
						request.Authority = authorities[random.IntN(len(authorities))]
					}
					want := outcomeOf(route.Explain(s, find, request))
					if got := g.outcome(request); got != want {
						t.Errorf("%q %q: %s, and explained as %s", request.Authority, request.Target, got, want)
					}
				}
			})
		})
	}
}

// outcomeOf is the outcome for a client according to an explanation.
func outcomeOf(trace route.Trace) string {
	switch trace.End {
	case route.EndForwarded:
		if _, err := url.ParseRequestURI(trace.Path.Path + trace.Path.Query); err != nil {
			return "400" // by the backend of this test
		}
		return fmt.Sprintf("%s sees %s%s", trace.Matching[0].Cluster.Port.Service.Name, trace.Path.Path, trace.Path.Query)
	case route.EndRedirected:
		return fmt.Sprintf("307 %s%s", trace.Path.Path, trace.Path.Query)
	default:
		return fmt.Sprint(trace.Status)
	}
}

// outcome is the outcome that a client of Envoy sees.
func (g *gateway) outcome(request route.Request) string {
	g.t.Helper()
	r := g.get(request.Authority, request.Target)
	switch r.StatusCode {
	case http.StatusOK:
		return fmt.Sprintf("%s sees %s", r.seen().Backend, r.seen().URI)
	case http.StatusTemporaryRedirect:
		return "307 " + strings.TrimPrefix(r.Header.Get("Location"), "http://"+request.Authority)
	default:
		return fmt.Sprint(r.StatusCode)
	}
}
