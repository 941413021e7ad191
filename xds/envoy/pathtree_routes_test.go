package envoy_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/xds/route"
)

// A route's body limit, answer and reason work in a tree as in a list, for hosts
// found by full name, by wildcard, and as the default host.
func TestRoutesInATreeKeepWhatTheySay(t *testing.T) {
	limited := prefix("/limited", "web")
	limited.MaxBody = limit
	missing := route.Route{Match: route.Match{Path: "/missing"}, Status: 503, Reason: "BackendNotFound"}
	routes := []route.Route{limited, missing, prefix("/", "web")}
	for i := range 50 {
		routes = append(routes, prefix(fmt.Sprintf("/path-%d", i), "web"))
	}
	inBuildsOrder(routes)
	g := newGateway(t, testSettings(t), host("shop.test", routes...), host("*.shop.test", routes...), host("*", routes...))
	g.backend(port("web"), serving(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // all of it, before the answer
	}))
	for i, name := range []string{"shop.test", "a.shop.test", "other.test"} {
		g.eventually(name+" is served", func() error { return want(g.get(name, "/path-49"), http.StatusOK) })
		for path, sizes := range map[string]map[int64]int{
			"/limited":   {limit: http.StatusOK, limit + 1: http.StatusRequestEntityTooLarge},
			"/limited/x": {limit + 1: http.StatusRequestEntityTooLarge},
			"/limit":     {2 * limit: http.StatusOK},
			"/path-7":    {2 * limit: http.StatusOK},
		} {
			for size, want := range sizes {
				if status, body, err := g.post(false, "http://"+name+path, size, false); err != nil || status != want {
					t.Errorf("%s%s, %d bytes: %d %q %v, want %d", name, path, size, status, body, err, want)
				}
			}
		}
		id := fmt.Sprint("missing-", i)
		g.get(name, "/missing/x?y", "X-Request-Id: "+id)
		line := g.logged(id)
		got := map[string]any{"status": line["status"], "ingress": line["ingress"], "reason": line["reason"]}
		if diff := cmp.Diff(map[string]any{"status": 503.0, "ingress": "shop/web", "reason": "BackendNotFound"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
