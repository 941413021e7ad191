package challenge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
)

func TestHTTP01(t *testing.T) {
	s := start(t, fairway.Options{Envoys: 2, Flags: []string{"-v"}, Record: true})
	for _, name := range []string{"web", "other", "solver", "rest"} {
		s.backend(name)
	}
	for _, feature := range []struct {
		name string
		test func(*stage)
	}{
		{"before redirects", testRedirected},
		{"beside a solver", testSolver},
		{"of many paths", testManyPaths},
		{"below a wildcard", testWildcard},
		{"without any Ingress", testNobodys},
		{"below the default host", testDefault},
		{"an Envoy that hangs", testFrozen},
		{"a broken order", testBroken},
		{"TLS-ALPN-01", testALPN},
		{"before client certificates", testGuarded},
		{"passthrough", testPassthrough},
		{"a real authority", testAuthority},
	} {
		t.Run(feature.name, func(t *testing.T) { feature.test(s.in(t)) })
	}
}

// ingress creates an Ingress until the test ends, with the hosts over TLS.
func (s *stage) ingress(i *networkingv1.Ingress, secure ...string) *networkingv1.Ingress {
	s.Helper()
	if len(secure) > 0 {
		i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: secure}}
	}
	s.fairway.Create(s, i)
	s.Cleanup(func() {
		if err := client.IgnoreNotFound(s.fairway.Client.Delete(context.Background(), i)); err != nil {
			s.Error(err)
		}
	})
	return i
}

// A challenge is answered as it is over HTTP, where all else is redirected, and
// over HTTPS; a token that is not ours takes the ordinary route.
func testRedirected(s *stage) {
	s.ingress(fairway.Ingress("redirected", class, "redirected.test", "/app", "web"), "redirected.test")
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Status("redirected.test", "/app", http.StatusPermanentRedirect)))
	c := of("redirected.test", "token")
	secret := s.order("redirected", c)
	fairway.Eventually(s, patience, s.presented(c))
	s.answered(c)
	// Without the challenge all paths are redirected, also those that nothing
	// serves; with it they still are.
	for _, path := range []string{"/app", "/", challenges + "other", challenges + "token/", challenges + "token/more", challenges, challenges + "TOKEN"} {
		if a, err := fairway.Get(s.Context(), c.Name, path); err != nil || a.Status != http.StatusPermanentRedirect {
			s.Errorf("%s: %d, %v", path, a.Status, err)
		}
	}
	if a, err := fairway.GetTLS(s.Context(), c.Name, c.Path()); err != nil || a.Body != c.KeyAuthorization {
		s.Errorf("over HTTPS: %d %q, %v", a.Status, a.Body, err)
	}
	if a, err := fairway.Get(s.Context(), c.Name, c.Path()+"?query"); err != nil || a.Body != c.KeyAuthorization {
		s.Errorf("with a query: %d %q, %v", a.Status, a.Body, err)
	}
	s.over(secret)
	fairway.Eventually(s, patience, s.absent(c))
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Status(c.Name, c.Path(), http.StatusPermanentRedirect)))
}

// Another ACME client that solves by an Ingress of its own, as cert-manager does,
// goes on working, and cannot take our tokens.
func testSolver(s *stage) {
	s.ingress(fairway.Ingress("shared", class, "shared.test", "/", "web"))
	solver := fairway.Ingress("cm-acme-http-solver", class, "shared.test", challenges+"theirs", "solver")
	path := &solver.Spec.Rules[0].HTTP.Paths[0]
	path.PathType = new(networkingv1.PathTypeImplementationSpecific)
	solver.Spec.Rules[0].HTTP.Paths = append(solver.Spec.Rules[0].HTTP.Paths, fairway.Path(challenges+"ours", "solver"))
	s.ingress(solver)
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("shared.test", challenges+"theirs", "solver")))
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("shared.test", challenges+"ours", "solver")))
	c := of("shared.test", "ours")
	secret := s.order("shared", c)
	fairway.Eventually(s, patience, s.presented(c))
	s.answered(c)
	for path, backend := range map[string]string{challenges + "theirs": "solver", challenges + "ours/more": "solver", challenges + "nobodys": "web", "/": "web"} {
		if err := fairway.Answers("shared.test", path, backend)(s.Context()); err != nil {
			s.Error(err)
		}
	}
	s.over(secret)
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("shared.test", challenges+"ours", "solver")))
}

// Many paths are a tree in Envoy, over HTTP another one than over HTTPS.
func testManyPaths(s *stage) {
	plain := fairway.Ingress("many-plain", class, "many.test", "/plain", "other")
	plain.Annotations = map[string]string{"fairway.dev/ssl-redirect": "false"}
	s.ingress(plain, "many.test")
	for i, host := range []string{"many.test", "many.test", "many-all.test"} {
		many := fairway.Ingress(fmt.Sprint("many-", i), class, host, fmt.Sprint("/", i), "web")
		for j := range 30 {
			rule := many.Spec.Rules[0].HTTP
			rule.Paths = append(rule.Paths, fairway.Path(fmt.Sprintf("/%d/path-%d", i%2, j), "web"))
		}
		s.ingress(many, host)
	}
	for _, path := range []string{"/0/path-7", "/1/path-29"} {
		fairway.Eventually(s, patience, fairway.Everywhere(fairway.Status("many.test", path, http.StatusPermanentRedirect)))
	}
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("many.test", "/plain", "other")))
	first, second := of("many.test", "first"), of("many.test", "second")
	s.order("many", first, second)
	for _, c := range []tlschallenge.Challenge{first, second} {
		fairway.Eventually(s, patience, s.presented(c))
		s.answered(c)
	}
	all := of("many-all.test", "token")
	s.order("many-all", all)
	fairway.Eventually(s, patience, s.presented(all))
	s.answered(all)
	for _, path := range []string{"/0/path-7", "/unknown", challenges + "other"} {
		if err := fairway.Status("many-all.test", path, http.StatusPermanentRedirect)(s.Context()); err != nil {
			s.Error(err)
		}
	}
	for path, status := range map[string]int{
		"/0/path-7": http.StatusPermanentRedirect, "/1": http.StatusPermanentRedirect,
		challenges + "third": http.StatusNotFound, "/plain": http.StatusOK,
	} {
		if err := fairway.Status("many.test", path, status)(s.Context()); err != nil {
			s.Error(err)
		}
	}
}

// A name that only a wildcard serves answers its challenge and goes on to be
// served as the wildcard is, also when that changes, also when all is over.
func testWildcard(s *stage) {
	wild := s.ingress(fairway.Ingress("wild", class, "*.wild.test", "/", "web"))
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("a.wild.test", "/", "web")))
	c := of("a.wild.test", "token")
	secret := s.order("wild", c)
	fairway.Eventually(s, patience, s.presented(c))
	s.answered(c)
	for _, host := range []string{"a.wild.test", "A.Wild.Test", "a.wild.test:8080", "b.wild.test"} {
		if err := fairway.Answers(host, "/x", "web")(s.Context()); err != nil {
			s.Error(err)
		}
	}
	if a, err := fairway.Get(s.Context(), "A.WILD.test:8080", c.Path()); err != nil || a.Body != c.KeyAuthorization {
		s.Errorf("in another spelling: %d %q, %v", a.Status, a.Body, err)
	}
	if err := fairway.Answers("b.wild.test", c.Path(), "web")(s.Context()); err != nil {
		s.Error("another name of the wildcard:", err)
	}
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := s.fairway.Client.Get(s.Context(), client.ObjectKeyFromObject(wild), wild); err != nil {
			return err
		}
		wild.Spec.Rules[0].HTTP.Paths[0] = fairway.Path("/", "other")
		return s.fairway.Client.Update(s.Context(), wild)
	})
	if err != nil {
		s.Fatal(err)
	}
	for _, host := range []string{"a.wild.test", "b.wild.test"} {
		fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers(host, "/x", "other")))
	}
	s.answered(c)
	exact := s.ingress(fairway.Ingress("wild-exact", class, "a.wild.test", "/only", "rest"))
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("a.wild.test", "/only", "rest")))
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Status("a.wild.test", "/x", http.StatusNotFound)))
	s.answered(c)
	if err := s.fairway.Client.Delete(s.Context(), exact); err != nil {
		s.Fatal(err)
	}
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("a.wild.test", "/only", "other")))
	s.answered(c)
	s.over(secret)
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("a.wild.test", c.Path(), "other")))
}

// A name that nobody serves answers its challenge and 404 to all else.
func testNobodys(s *stage) {
	c := of("nobody.test", "token")
	secret := s.order("nobody", c)
	fairway.Eventually(s, patience, s.presented(c))
	s.answered(c)
	for _, host := range []string{"nobody.test", "else.nobody.test"} {
		if err := fairway.Status(host, "/", http.StatusNotFound)(s.Context()); err != nil {
			s.Error(err)
		}
	}
	s.over(secret)
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Status("nobody.test", c.Path(), http.StatusNotFound)))
}

// What the default host serves under any name it goes on to serve.
func testDefault(s *stage) {
	c := of("any.test", "token")
	s.order("default", c)
	fairway.Eventually(s, patience, s.presented(c))
	fallback := s.ingress(fairway.Ingress("fallback", class, "", "/", "rest"))
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("any.test", "/x", "rest")))
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("another.test", "/x", "rest")))
	s.answered(c)
	if err := s.fairway.Client.Delete(s.Context(), fallback); err != nil {
		s.Fatal(err)
	}
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Status("any.test", "/x", http.StatusNotFound)))
	s.answered(c)
}

// An Envoy that does not accept the routes keeps a challenge from counting as
// presented, whichever replica it is connected to.
func testFrozen(s *stage) {
	for i, e := range s.fairway.Envoys {
		c := of("frozen.test", fmt.Sprint("token-", i))
		thaw := e.Freeze(s)
		secret := s.order(fmt.Sprint("frozen-", i), c)
		// The other Envoy's replica answers meanwhile: it is in its Lease.
		fairway.Eventually(s, patience, func(ctx context.Context) error {
			ok, why, err := s.everywhere.Presented(ctx, c)
			if err != nil {
				return err
			}
			if ok {
				return errors.New("presented while an Envoy hangs")
			}
			if want := fmt.Sprintf("replica replica-%d: not all of its Envoys", i); len(why) < len(want) || why[:len(want)] != want {
				return fmt.Errorf("%s is not presented: %s", c, why)
			}
			return nil
		})
		thaw()
		fairway.Eventually(s, patience, s.presented(c))
		s.answered(c)
		s.over(secret)
	}
}

// What cannot be read is not answered, and keeps no other order from being.
func testBroken(s *stage) {
	good := of("good.test", "token")
	broken := s.order("broken", of("bad.test", "token"))
	fairway.Eventually(s, patience, s.presented(of("bad.test", "token")))
	broken.Data[tlschallenge.SecretKey] = []byte(`[{"gateway":"default","type":"http-01","name":"bad.test","token":"../admin","keyAuthorization":"../admin.x"}]`)
	if err := s.fairway.Client.Update(s.Context(), broken); err != nil {
		s.Fatal(err)
	}
	s.order("good", good)
	fairway.Eventually(s, patience, s.presented(good))
	s.answered(good)
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Status("bad.test", challenges+"token", http.StatusNotFound)))
}
