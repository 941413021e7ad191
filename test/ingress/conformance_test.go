package ingress_test

import (
	"context"
	"net/http"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
)

// The behaviours that Kubernetes' ingress-controller-conformance asks for, as
// strictly as it asks: once the controller says that a host is served, the
// first request is answered right. (TLS is not served yet.)
func testConformance(t *testing.T, r *fairway.Installation) {
	t.Run("path rules", func(t *testing.T) { testPathRules(t, r) })
	t.Run("host rules", func(t *testing.T) { testHostRules(t, r) })
	t.Run("only a default backend", func(t *testing.T) { testOnlyDefaultBackend(t, r) })
	t.Run("class", func(t *testing.T) { testUnknownClass(t, r) })
	t.Run("load balancing", func(t *testing.T) { testLoadBalancing(t, r) })
}

// createAndServe creates an Ingress and returns when the controller says that
// its hosts are served.
func (s *site) createAndServe(ingress *networkingv1.Ingress, hosts ...string) {
	s.Helper()
	var served []func(context.Context) error
	for _, host := range hosts {
		served = append(served, s.fairway.Served(host))
	}
	s.create(ingress)
	for _, check := range served {
		fairway.Eventually(s, patience, check)
	}
}

// settle waits until the controller knows the backends, by routing to them.
func (s *site) settle(backends ...string) {
	s.Helper()
	host := s.namespace + ".known.test"
	var pairs []string
	for _, name := range backends {
		pairs = append(pairs, "/"+name, name)
	}
	known := withRules("known", rule(host, pairs...))
	s.create(known)
	for _, name := range backends {
		fairway.Eventually(s, patience, fairway.Status(host, "/"+name, http.StatusOK))
	}
	s.delete(known)
	s.eventually(host, "/"+backends[0], notFound)
}

func testPathRules(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("foo-exact", "foo-prefix", "bbb", "aaa", "bbb-slash", "foo-slash-exact")
	s.settle("foo-exact", "foo-prefix", "bbb", "aaa", "bbb-slash", "foo-slash-exact")
	s.createAndServe(withRules("path-rules",
		rule("exact-path-rules", "=/foo", "foo-exact"),
		rule("prefix-path-rules", "/foo", "foo-prefix", "/aaa/bbb", "bbb", "/aaa", "aaa"),
		rule("mixed-path-rules", "/foo", "foo-prefix", "=/foo", "foo-exact"),
		rule("trailing-slash-path-rules", "/aaa/bbb/", "bbb-slash", "=/foo/", "foo-slash-exact"),
	), "exact-path-rules", "prefix-path-rules", "mixed-path-rules", "trailing-slash-path-rules")
	for _, c := range []struct{ host, path, want string }{
		{"exact-path-rules", "/foo", "foo-exact"},
		{"exact-path-rules", "/foo/", notFound},
		{"exact-path-rules", "/FOO", notFound},
		{"exact-path-rules", "/bar", notFound},
		{"prefix-path-rules", "/foo", "foo-prefix"},
		{"prefix-path-rules", "/foo/", "foo-prefix"},
		{"prefix-path-rules", "/FOO", notFound},
		{"prefix-path-rules", "/aaa/bbb", "bbb"},
		{"prefix-path-rules", "/aaa/bbb/ccc", "bbb"},
		{"prefix-path-rules", "/aaa/ccc", "aaa"},
		{"prefix-path-rules", "/aaaccc", notFound},
		{"mixed-path-rules", "/foo", "foo-exact"},
		{"trailing-slash-path-rules", "/aaa/bbb", "bbb-slash"},
		{"trailing-slash-path-rules", "/aaa/bbb/", "bbb-slash"},
		{"trailing-slash-path-rules", "/foo", notFound},
	} {
		s.passes(c.host, c.path, c.want)
	}
}

func testHostRules(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("wildcard-foo-com", "foo-bar-com")
	s.settle("wildcard-foo-com", "foo-bar-com")
	rules := withRules("host-rules", rule("*.foo.com", "/", "wildcard-foo-com"), rule("foo.bar.com", "/", "foo-bar-com"))
	rules.Spec.Rules[1].HTTP.Paths[0].Backend.Service.Port = networkingv1.ServiceBackendPort{Name: "http"}
	s.createAndServe(rules, "*.foo.com", "foo.bar.com")
	for _, c := range []struct{ host, want string }{
		{"foo.bar.com", "foo-bar-com"},
		{"subdomain.bar.com", notFound},
		{"bar.foo.com", "wildcard-foo-com"},
		{"baz.bar.foo.com", notFound},
		{"foo.com", notFound},
	} {
		s.passes(c.host, "/", c.want)
	}
}

// passes demands that a request reaches a backend as it was sent.
func (s *site) passes(host, path, want string) {
	s.Helper()
	s.now(host, path, want)
	if want == notFound {
		return
	}
	a, err := fairway.Get(s.Context(), host, path)
	got := passed{a.Header.Get("Backend"), a.Header.Get("Method"), a.Header.Get("Host-Was"), a.Header.Get("Path")}
	if err != nil || got != (passed{want, http.MethodGet, host, path}) {
		s.Errorf("%s%s: the backend got %+v, %v", host, path, got, err)
	}
}

func testOnlyDefaultBackend(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("echo-service")
	s.settle("echo-service")
	only := ingress("default-backend")
	only.Spec.DefaultBackend = backendOf("echo-service")
	s.createAndServe(only, "*")
	for _, host := range []string{"my-host", "some-host", "127.0.0.1:8080"} {
		anyMethod(s, host, "echo-service")
	}
}

func testUnknownClass(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("shop")
	s.settle("shop")
	unknown := withRules("unknown", rule("ingress-class", "/", "shop"))
	unknown.Spec.IngressClassName = new("some-invalid-class-name")
	s.create(unknown)
	s.createAndServe(withRules("known-later", rule("ingress-class-later", "/", "shop")), "ingress-class-later")
	s.now("ingress-class", "/", notFound)
}

// All ready endpoints of a Service get requests.
func testLoadBalancing(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	const endpoints = 10
	echo := fairway.Slice("echo")
	for i := range endpoints {
		ip := s.endpoint(string(rune('0' + i)))
		echo.Endpoints = append(echo.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}})
	}
	s.create(fairway.Service("echo"), echo)
	s.settle("echo")
	s.createAndServe(withRules("echo", rule("load-balancing", "/", "echo")), "load-balancing")
	answered := map[string]int{}
	for range 200 { // a fair choice misses one once in 10⁸ runs
		a, err := fairway.Get(t.Context(), "load-balancing", "/")
		if err != nil || a.Status != http.StatusOK {
			t.Fatalf("status %d, %v", a.Status, err)
		}
		answered[a.Header.Get("Backend")]++
	}
	if len(answered) != endpoints {
		t.Errorf("200 requests reached %d of %d endpoints: %v", len(answered), endpoints, answered)
	}
}
