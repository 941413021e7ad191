package route_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/xds/route"
)

// checkInvariants builds a world and holds the result to what the package, and
// Envoy, may rely on whatever the objects were.
func checkInvariants(t testing.TB, w world) {
	t.Helper()
	made := w.build()
	if diff := diffOf(made, w.build()); diff != "" {
		t.Fatalf("the same objects built twice:\n%s", diff)
	}
	for _, ing := range w.ingresses {
		checkHostsOf(t, ing)
	}
	for key, host := range made.Hosts {
		if host.Key != key {
			t.Errorf("%s has the key %s", key, host.Key)
		}
		checkRoutes(t, host.Routes)
	}
	for port, backend := range made.Backends {
		checkBackend(t, port, backend)
	}
	checkProblems(t, made.Problems)
}

func checkHostsOf(t testing.TB, ing *networkingv1.Ingress) {
	t.Helper()
	hosts := route.HostsOf(ing)
	if len(hosts) == 0 {
		t.Errorf("%s has no host", nameOf(ing))
	}
	if !slices.IsSorted(hosts) || len(slices.Compact(slices.Clone(hosts))) != len(hosts) {
		t.Errorf("%s has hosts unsorted or twice: %q", nameOf(ing), hosts)
	}
	for _, host := range hosts {
		name := strings.TrimPrefix(string(host), "*.")
		const legal = "abcdefghijklmnopqrstuvwxyz0123456789-."
		if host != route.AnyHost && (name == "" || len(host) > 253 || strings.Trim(name, legal) != "" || strings.HasSuffix(name, ".")) {
			t.Errorf("%s has the host %q", nameOf(ing), host)
		}
	}
}

func checkRoutes(t testing.TB, routes []route.Route) {
	t.Helper()
	seen := map[route.Match]bool{}
	for i, r := range routes {
		if seen[r.Match] {
			t.Errorf("%s %q twice", r.Match.Kind, r.Match.Path)
		}
		seen[r.Match] = true
		checkMatch(t, r.Match)
		if answered := (r.Status == 503 || r.Status == 421) && r.Reason != ""; answered == (r.Cluster != nil) || r.Cluster != nil && (r.Status != 0 || r.Reason != "") {
			t.Errorf("a Route has a Cluster or a Status: %+v", r)
		}
		if c := r.Cluster; c != nil && (c.Port.Port < 1 || c.Port.Port > 65535 || c.Port.Service.Name == "") {
			t.Errorf("no such port: %+v", c)
		}
		if r.MaxBody < 0 {
			t.Errorf("negative bound: %+v", r)
		}
		if i > 0 && cmp.Compare(len(routes[i-1].Match.Path), len(r.Match.Path)) < 0 {
			t.Errorf("%q after %q", r.Match.Path, routes[i-1].Match.Path)
		}
	}
}

// checkMatch: Envoy refuses some paths, and no request has others.
func checkMatch(t testing.TB, match route.Match) {
	t.Helper()
	path := match.Path
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#\\") || strings.Contains(path, "//") {
		t.Errorf("path %q", path)
	}
	if match.Kind == route.Prefix && path != "/" && strings.HasSuffix(path, "/") {
		t.Errorf("Prefix %q", path)
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' }) {
		t.Errorf("path %q is not one that a request line can hold", path)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			t.Errorf("path %q", path)
		}
	}
}

func checkBackend(t testing.TB, port route.ServicePort, backend *route.Backend) {
	t.Helper()
	if backend == nil {
		t.Fatalf("%s, which a Host needs, has no Backend", port)
	}
	if backend.Port != port {
		t.Errorf("%s has the port %s", port, backend.Port)
	}
	for i, endpoint := range backend.Endpoints {
		if !endpoint.Address.IsValid() || endpoint.Address.Port() == 0 || endpoint.Address.Addr().Is4In6() {
			t.Errorf("endpoint %v", endpoint)
		}
		if i > 0 && backend.Endpoints[i-1].Address.Compare(endpoint.Address) >= 0 {
			t.Errorf("%s after %s", endpoint.Address, backend.Endpoints[i-1].Address)
		}
	}
}

func checkProblems(t testing.TB, problems []problem.Problem) {
	t.Helper()
	for _, p := range problems {
		if p.Reason == "" || p.Message == "" || p.Field == "" || p.Object.Kind == "" {
			t.Errorf("incomplete: %+v", p)
		}
	}
}
