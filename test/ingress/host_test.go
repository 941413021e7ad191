package ingress_test

import (
	"net/http"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
)

// The most specific host takes the whole request: exact name, then wildcard of
// one label, then rules without host. Nothing falls through.
func testHosts(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("exact", "wildcard", "inner", "default")
	s.create(
		withRules("exact", rule("a.hosts.test", "/only", "exact")),
		withRules("wildcard", rule("*.hosts.test", "/", "wildcard")),
		withRules("inner", rule("*.in.hosts.test", "/deep", "inner")),
		withRules("default", rule("", "/", "default")),
	)
	s.eventually("a.hosts.test", "/only", "exact")
	s.eventually("b.hosts.test", "/", "wildcard")
	s.eventually("a.in.hosts.test", "/deep", "inner")
	s.eventually("hosts.test", "/", "default")
	for _, c := range []struct{ host, path, want string }{
		{"a.hosts.test", "/", notFound}, // not the wildcard's
		{"A.Hosts.TEST", "/only", "exact"},
		{"a.hosts.test:8080", "/only", "exact"},
		{"a.hosts.test.", "/only", "exact"},
		{"B.hosts.test.:80", "/", "wildcard"},
		{"in.hosts.test", "/deep", "wildcard"},
		{"a.in.hosts.test", "/", notFound}, // not the default host's
		{"a.b.hosts.test", "/", "default"}, // two labels
		{"b.a.in.hosts.test", "/deep", "default"},
		{"ahosts.test", "/", "default"},
		{"10.77.0.9", "/", "default"},
		{"[fd00::1]:80", "/", "default"},
	} {
		s.now(c.host, c.path, c.want)
	}
}

// hostsComeAndGo has hosts of all three kinds come and go beside one another.
// Whoever asks for a name is always answered, by the one who had it or by the
// one who has it.
func hostsComeAndGo(s *site, _ string) {
	s.backends("exact", "wildcard", "default")
	hosts := []*networkingv1.Ingress{
		withRules("default", rule("", "/", "default")),
		withRules("wildcard", rule("*.hosts.test", "/", "wildcard")),
		withRules("exact", rule("a.hosts.test", "/", "exact")),
	}
	s.create(hosts[0])
	fairway.Eventually(s, patience, fairway.Everywhere(answered("a.hosts.test", "/", "default")))
	moving, staying := s.fairway.StartLoad(s, "a.hosts.test", "/"), s.fairway.StartLoad(s, "b.hosts.test", "/")

	serve := func(i int) {
		s.Helper()
		hosts[i].ResourceVersion = ""
		s.create(hosts[i])
		s.fairway.Timeline.Note("the test adds host %s", hosts[i].Name)
		fairway.Eventually(s, patience, moving.Reaches(hosts[i].Name, 50))
	}
	take := func(i, heir int) {
		s.Helper()
		s.delete(hosts[i])
		s.fairway.Timeline.Note("the test removes host %s", hosts[i].Name)
		fairway.Eventually(s, patience, moving.Reaches(hosts[heir].Name, 50))
	}
	for range soak.Pick(1, 3) {
		serve(1)
		serve(2)
		take(2, 1)
		serve(2) // again, over the wildcard
		s.delete(hosts[1])
		fairway.Eventually(s, patience, staying.Reaches("default", 50))
		take(2, 0) // over the default host
		serve(2)
		s.create(func() *networkingv1.Ingress { hosts[1].ResourceVersion = ""; return hosts[1] }())
		fairway.Eventually(s, patience, staying.Reaches("wildcard", 50))
		take(2, 1)
		take(1, 0)
	}
	moved, stayed := moving.StopClean(), staying.StopClean()
	for _, kind := range []string{"exact", "wildcard", "default"} {
		if moved.Answered[kind] == 0 {
			s.Errorf("the %s host never answered: %v", kind, moved.Answered)
		}
	}
	if stayed.Answered["exact"] > 0 {
		s.Errorf("b.hosts.test was answered by the backend of a.hosts.test: %v", stayed.Answered)
	}
}

// What no rule serves goes to the default backend: of the Ingress's own hosts,
// and of the hosts that nobody names.
func testDefaultBackend(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("shop", "fallback", "second", "any")
	named := withRules("named", rule("named.default.test", "/", "shop"))
	other := withRules("other", rule("other.default.test", "/cart", "shop"))
	alone := ingress("alone")
	alone.Spec.DefaultBackend = backendOf("fallback")
	s.create(named, other, alone)
	s.eventually("named.default.test", "/", "shop")
	s.eventually("other.default.test", "/cart", "shop")
	s.eventually("nobody.example", "/any/path", "fallback")
	s.now("other.default.test", "/", notFound) // another Ingress's host
	anyMethod(s, "nobody.example", "fallback")

	// Beside rules it serves what they leave, also of a rule without paths.
	beside := withRules("beside",
		rule("beside.default.test", "/cart", "shop"), networkingv1.IngressRule{Host: "whole.default.test"})
	beside.Spec.DefaultBackend = backendOf("second")
	s.create(beside)
	s.eventually("beside.default.test", "/cart", "shop")
	s.now("beside.default.test", "/", "second")
	s.now("beside.default.test", "/carts", "second")
	s.eventually("whole.default.test", "/all", "second")
	s.now("nobody.example", "/", "fallback") // the older Ingress's
	s.now("other.default.test", "/", notFound)

	// A rule without host comes before it, path by path.
	hostless := withRules("hostless", rule("", "/any", "any"))
	s.create(hostless)
	s.eventually("nobody.example", "/any", "any")
	s.now("nobody.example", "/", "fallback")
	s.now("beside.default.test", "/any", "second")
	change(s, hostless, func(o *networkingv1.Ingress) { o.Spec.Rules[0].HTTP.Paths[0].Path = "/" })
	s.eventually("nobody.example", "/", "any")

	s.delete(alone)
	s.now("nobody.example", "/", "any")
	s.delete(hostless)
	s.eventually("nobody.example", "/", "second") // the heir's
	s.delete(beside)
	s.eventually("nobody.example", "/", notFound)
	s.eventually("beside.default.test", "/cart", notFound)
	s.now("named.default.test", "/", "shop")
}

// anyMethod demands that a host is served whatever the method and path.
func anyMethod(s *site, host, want string) {
	s.Helper()
	for _, c := range []struct{ method, path string }{
		{http.MethodGet, "/"}, {http.MethodGet, "/sub-path"}, {http.MethodPost, "/"},
		{http.MethodPut, "/resource"}, {http.MethodDelete, "/resource"}, {http.MethodPatch, "/resource"},
	} {
		a, err := fairway.Do(s.Context(), c.method, host, c.path, "a body")
		switch got := (passed{a.Header.Get("Backend"), a.Header.Get("Method"), a.Header.Get("Host-Was"), a.Header.Get("Path")}); {
		case err != nil:
			s.Errorf("%s %s%s: %v", c.method, host, c.path, err)
		case got != passed{want, c.method, host, c.path}:
			s.Errorf("%s %s%s: status %d, %+v", c.method, host, c.path, a.Status, got)
		}
	}
}

// passed is what has reached a backend of a request.
type passed struct{ backend, method, host, path string }
