package route_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/fairwaynet/fairway/xds/route"
)

// What is explained of a request is the choice of the Ingress API. (That it is
// also what Envoy does is held by a test of xds/envoy.)
func TestExplanationsAgreeWithTheAPI(t *testing.T) {
	forSeeds(t, 1000, func(t *testing.T, random *rand.Rand) {
		w := randomWorld(random)
		made := w.build()
		find := func(host route.Hostname) *route.Host {
			return made.Hosts[route.Key{Gateway: route.DefaultGateway, Host: host}]
		}
		for range 40 {
			host := pick(random, []string{"a.test", "b.test", "x.a.test", "y.a.test", "y.x.a.test", "z.y.x.a.test", "other.test"})
			path := randomPath(random)
			trace := route.Explain(route.DefaultSettings(), find, route.Request{
				Authority: host, Target: path, Method: http.MethodGet,
			})
			if want, got := (oracle{w}).ask(host, path), answerTo(trace); got != want {
				t.Errorf("%s%s: %s, want %s", host, path, got, want)
			}
		}
	})
}

func answerTo(trace route.Trace) string {
	switch trace.End {
	case route.EndForwarded:
		return trace.Matching[0].Cluster.Port.String()
	case route.EndUnavailable:
		return fmt.Sprintf("%d %s", trace.Status, trace.Matching[0].Reason)
	default:
		return fmt.Sprint(trace.Status)
	}
}

func TestWhereARequestEnds(t *testing.T) {
	settings := route.DefaultSettings()
	settings.MaxRequestBody = 100
	cluster := &route.Cluster{Port: route.ServicePort{Port: 80}}
	shop := &route.Host{Routes: []route.Route{
		{Match: route.Match{Path: "/upload"}, Cluster: cluster, MaxBody: 1000},
		{Match: route.Match{Path: "/gone"}, Status: http.StatusServiceUnavailable},
		{Match: route.Match{Path: "/cart"}, Cluster: cluster},
	}}
	find := func(host route.Hostname) *route.Host {
		if host == "shop.test" || host == "*.shop.test" {
			return shop
		}
		return nil
	}
	for _, c := range []struct {
		authority, target, method string
		length                    int64
		end                       route.End
		status                    int
	}{
		{"shop.test", "/cart", "GET", 0, route.EndForwarded, 0},
		{"SHOP.test.:80", "/cart/1?a", "", 0, route.EndForwarded, 0},
		{"a.shop.test", "/cart", "GET", 0, route.EndForwarded, 0},
		{"a.b.shop.test", "/cart", "GET", 0, route.EndNoHost, 404},
		{"other.test", "/cart", "GET", 0, route.EndNoHost, 404},
		{"shop.test", "/", "GET", 0, route.EndNoPath, 404},
		{"shop.test", "/cartoon", "GET", 0, route.EndNoPath, 404},
		{"shop.test", "/gone", "GET", 0, route.EndUnavailable, 503},
		{"shop.test", "/cart", "POST", 100, route.EndForwarded, 0},
		{"shop.test", "/cart", "POST", 101, route.EndTooLarge, 413},
		{"shop.test", "/upload", "POST", 1000, route.EndForwarded, 0},
		{"shop.test", "/upload", "POST", 1001, route.EndTooLarge, 413},
		{"shop.test", "/a%2fcart", "GET", 0, route.EndRedirected, 307},
		{"shop.test", "/..%2fcart", "GET", 0, route.EndRedirected, 307},
		{"shop.test", "/%00", "GET", 0, route.EndBadPath, 400},
		{"shop.test", "/%2e%2e;/cart", "GET", 0, route.EndBadPath, 403},
		{"shop.test", "cart", "GET", 0, route.EndBadPath, 400},
		{"shop.test", "", "GET", 0, route.EndBadPath, 400},
		{"shop test", "/cart", "GET", 0, route.EndBadHost, 400},
		{"a@shop.test", "/cart", "GET", 0, route.EndBadHost, 400},
		{"shop.test:x", "/cart", "GET", 0, route.EndBadHost, 400},
		{"shop.test", "/cart", "CONNECT", 0, route.EndBadMethod, 403},
		{"shop.test", "/../%00", "CONNECT", 0, route.EndBadMethod, 403},
		{"shop.test", "/cart", "connect", 0, route.EndBadMethod, 403},
		{"shop.test", "/cart", "Trace", 0, route.EndBadMethod, 403},
		{"shop.test", "/%00", "Trace", 0, route.EndBadPath, 400},
		{"shop.test", "/cart", "G@T", 0, route.EndBadMethod, 400},
		{"shop.test", "/cart", "GET ", 0, route.EndBadMethod, 400},
		{"shop.test", "/cart", "VERSION-CONTROL", 0, route.EndForwarded, 0},
		{"shop.test", "/cart", "list", 0, route.EndForwarded, 0},
		{"shop.test", "/cart", "RPC_IN_DATA", 0, route.EndForwarded, 0},
		{"shop.test", "/cart", "TRACE", 0, route.EndBadMethod, 403},
	} {
		request := route.Request{Authority: c.authority, Target: c.target, Method: c.method, Length: c.length}
		if got := route.Explain(settings, find, request); got.End != c.end || got.Status != c.status {
			t.Errorf("%s %s%s: %s %d, want %s %d", c.method, c.authority, c.target, got.End, got.Status, c.end, c.status)
		}
	}
}

// FuzzExplain: whatever a client sends, its path is normal in the end, and no
// route is taken that does not match it.
func FuzzExplain(f *testing.F) {
	f.Add("shop.test", "/cart/../%2e%2f\\%zz//")
	f.Add("[::1]:80", "/%%41%2%41?x")
	f.Add(":", "/;../..;")
	f.Fuzz(func(t *testing.T, authority, target string) {
		host := &route.Host{Routes: []route.Route{{Match: route.Match{Path: "/"}, Cluster: &route.Cluster{}}}}
		find := func(route.Hostname) *route.Host { return host }
		trace := route.Explain(route.DefaultSettings(), find, route.Request{Authority: authority, Target: target})
		again := route.DefaultSettings().PathOf(trace.Path.Path)
		if trace.End == route.EndForwarded && again.Path != trace.Path.Path && !hasEscape(trace.Path.Path) {
			t.Errorf("%q: %q is normalised once more, to %q", target, trace.Path.Path, again.Path)
		}
	})
}

func hasEscape(path string) bool {
	for i := range len(path) {
		if path[i] == '%' {
			return true
		}
	}
	return false
}
