package ingress_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/route"
)

func TestFilterChains(t *testing.T) {
	r := start(t, fairway.Options{Flags: []string{"-v"}, Record: true})
	for _, feature := range []struct {
		name string
		test func(*site)
	}{
		{"client certificates", testClientCertificates},
		{"authorities that cannot be used", testBrokenAuthorities},
		{"conflicts", testClientPolicyConflicts},
		{"pairs", testPairs},
		{"passthrough", testPassthrough},
		{"connections stay", testConnectionsStay},
	} {
		t.Run(feature.name, func(t *testing.T) { feature.test(newSite(t, r)) })
	}
}

// annotated is an Ingress with annotations, name and value by turns.
func annotated(i *networkingv1.Ingress, pairs ...string) *networkingv1.Ingress {
	i.Annotations = map[string]string{}
	for n := 0; n < len(pairs); n += 2 {
		i.Annotations[pairs[n]] = pairs[n+1]
	}
	return i
}

// answeredTo is a check for fairway.Eventually: what a client with a certificate, or
// nil, is answered to a request for a host: the name of the backend and of the
// client as the backend is told, a status, or "refused".
func answeredTo(client *tls.Certificate, name, host, want string) func(context.Context) error {
	return func(ctx context.Context) error {
		a, err := fairway.GetAs(ctx, client, name, host, "/")
		got := strings.TrimSpace(a.Header.Get("Backend") + " " + dnsIn(a.Header.Get("Client")))
		switch {
		case err != nil:
			got = "refused"
		case a.Status != http.StatusOK:
			got = fmt.Sprint(a.Status)
		}
		if got != want {
			return fmt.Errorf("%s by a connection for %q: %s, want %s (%w)", host, name, got, want, err)
		}
		return nil
	}
}

// dnsIn is the first DNS name in an X-Forwarded-Client-Cert.
func dnsIn(header string) string {
	_, name, _ := strings.Cut(header, "DNS=")
	name, _, _ = strings.Cut(name, ";")
	return name
}

func (s *site) soon(checks ...func(context.Context) error) {
	s.Helper()
	for _, check := range checks {
		fairway.Eventually(s, patience, check)
	}
}

// Certificates are demanded of clients whatever way they come by, and the backend
// is told who they are.
func testClientCertificates(s *site) {
	authority := fairway.NewAuthority(s)
	alice, eve := authority.Client(s, "alice"), fairway.NewAuthority(s).Client(s, "eve")
	s.backends("shop", "rest")
	s.create(authority.CASecret("staff-ca"), authority.Secret(s, "wildcard", fairway.Wish{Names: []string{"*.mtls.test"}}))
	s.create(
		annotated(overTLS(withRules("staff", rule("staff.mtls.test", "/", "shop")), "wildcard", "staff.mtls.test"),
			route.AnnotationClientCA, "staff-ca"),
		annotated(withRules("optional", rule("optional.mtls.test", "/", "shop")),
			route.AnnotationClientCA, "staff-ca", route.AnnotationClientCertificate, route.ClientOptional, route.AnnotationSSLRedirect, "false"),
		overTLS(withRules("open", rule("*.mtls.test", "/", "rest")), "wildcard", "*.mtls.test"),
	)
	s.soon(
		answeredTo(alice, "staff.mtls.test", "staff.mtls.test", "shop alice"),
		answeredTo(nil, "staff.mtls.test", "staff.mtls.test", "refused"),
		answeredTo(eve, "staff.mtls.test", "staff.mtls.test", "refused"),
		answeredTo(nil, "open.mtls.test", "staff.mtls.test", "421"),
		answeredTo(nil, "", "staff.mtls.test", "421"),
		answeredTo(alice, "staff.mtls.test", "open.mtls.test", "rest"),
		answeredTo(nil, "open.mtls.test", "open.mtls.test", "rest"),
		answeredTo(nil, "optional.mtls.test", "optional.mtls.test", "shop"),
		answeredTo(alice, "optional.mtls.test", "optional.mtls.test", "shop alice"),
		answeredTo(eve, "optional.mtls.test", "optional.mtls.test", "refused"),
		answeredTo(alice, "optional.mtls.test", "staff.mtls.test", "421"),
		answered("staff.mtls.test", "/", "308"),
		answered("optional.mtls.test", "/", "421"),
	)
	coalesced(s, alice, "staff.mtls.test", map[string]int{
		"staff.mtls.test": http.StatusOK, "open.mtls.test": http.StatusOK, "optional.mtls.test": http.StatusMisdirectedRequest,
	})
	coalesced(s, nil, "open.mtls.test", map[string]int{
		"open.mtls.test": http.StatusOK, "staff.mtls.test": http.StatusMisdirectedRequest, "optional.mtls.test": http.StatusMisdirectedRequest,
	})
}

// coalesced asks for several hosts over one connection of HTTP/2, as browsers do
// where a certificate covers all of them.
func coalesced(s *site, client *tls.Certificate, name string, want map[string]int) {
	s.Helper()
	h2 := overH2(s, client, name)
	for host, status := range want {
		request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://"+host+"/", nil)
		if err != nil {
			s.Fatal(err)
		}
		request.URL.Host = name // one connection of the transport's
		request.Host = host
		response, err := h2.RoundTrip(request)
		if err != nil {
			s.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != status || response.ProtoMajor != 2 {
			s.Errorf("%s over a connection for %s: %s %d, want %d", host, name, response.Proto, response.StatusCode, status)
		}
	}
}

func overH2(s *site, client *tls.Certificate, name string) *http.Transport {
	s.Helper()
	config := &tls.Config{NextProtos: []string{"h2"}}
	if client != nil {
		config.Certificates = []tls.Certificate{*client}
	}
	conn, err := fairway.Handshake(s.Context(), name, config)
	if err != nil {
		s.Fatal(err)
	}
	transport := &http.Transport{Protocols: new(http.Protocols), DialTLSContext: fairway.Once(conn)}
	transport.Protocols.SetHTTP2(true)
	s.Cleanup(transport.CloseIdleConnections)
	return transport
}

// A host whose clients cannot be verified serves nobody; what is wrong is said on
// its Ingress, and mending it serves again.
func testBrokenAuthorities(s *site) {
	authority := fairway.NewAuthority(s)
	alice := authority.Client(s, "alice")
	s.backends("shop")
	s.create(annotated(withRules("staff", rule("staff.broken.test", "/", "shop")), route.AnnotationClientCA, "staff-ca"))
	s.create(withRules("open", rule("open.broken.test", "/", "shop")))
	s.soon(
		s.said("staff", string(route.ReasonSecretNotFound), "Secret staff-ca cannot be used: it does not exist"),
		answeredTo(alice, "staff.broken.test", "staff.broken.test", "refused"),
		answeredTo(nil, "open.broken.test", "staff.broken.test", "421"),
		answeredTo(nil, "open.broken.test", "open.broken.test", "shop"),
	)
	good := authority.Secret(s, "staff-ca", fairway.Wish{Names: []string{"any.test"}})
	good.Data["ca.crt"] = authority.PEM()
	s.create(good)
	s.soon(answeredTo(alice, "staff.broken.test", "staff.broken.test", "shop alice"), s.fairway.NoMetric("fairway_problems"))
	leaf, _ := authority.Issue(s, fairway.Wish{})
	for _, c := range []struct{ reason, says, content string }{
		{string(route.ReasonSecretInvalid), "it has no ca.crt", ""},
		{string(route.ReasonClientCAInvalid), "it is not PEM", "nothing"},
		{string(route.ReasonClientCAInvalid), "block 2 (CERTIFICATE, line", string(authority.PEM()) + strings.Replace(string(authority.PEM()), "\n", "\n*", 1)},
		{string(route.ReasonClientCAInvalid), "is not that of an authority", string(leaf)},
	} {
		broken := good.DeepCopy()
		broken.Data["ca.crt"] = []byte(c.content)
		update(s, broken)
		s.soon(s.said("staff", c.reason, c.says), answeredTo(alice, "staff.broken.test", "staff.broken.test", "refused"))
		update(s, good)
		s.soon(answeredTo(alice, "staff.broken.test", "staff.broken.test", "shop alice"), s.fairway.NoMetric("fairway_problems"))
	}
	next := fairway.NewAuthority(s)
	both := good.DeepCopy()
	both.Data["ca.crt"] = bytes.Join([][]byte{authority.PEM(), next.PEM()}, nil)
	update(s, both)
	s.soon(answeredTo(next.Client(s, "bob"), "staff.broken.test", "staff.broken.test", "shop bob"))
}

// A host belongs to the namespace of the oldest Ingress that names it.
func testClientPolicyConflicts(s *site) {
	authority := fairway.NewAuthority(s)
	alice := authority.Client(s, "alice")
	s.backends("shop")
	s.create(authority.CASecret("staff-ca"), withRules("first", rule("conflict.test", "/", "shop")))
	s.soon(answered("conflict.test", "/", "shop"))
	s.nextSecond()
	other := newSite(s.T, s.fairway)
	other.backends("secret")
	other.create(authority.CASecret("staff-ca"),
		annotated(withRules("guest", rule("conflict.test", "/secret", "secret")), route.AnnotationClientCA, "staff-ca"))
	other.soon(
		other.said("guest", string(route.ReasonClientPolicyConflict), "demands no certificates"),
		answered("conflict.test", "/secret", unavailable),
		answered("conflict.test", "/", "shop"),
	)
	s.create(annotated(withRules("mine", rule("conflict.test", "/staff", "shop")), route.AnnotationClientCA, "staff-ca"))
	s.soon(
		answeredTo(nil, "conflict.test", "conflict.test", "refused"),
		answeredTo(alice, "conflict.test", "conflict.test", "shop alice"),
		s.said("first", string(route.ReasonClientPolicyConflict), "they are demanded for the rules of this Ingress, too"),
	)
}

// A name with two certificates of one namespace has both.
func testPairs(s *site) {
	authority := fairway.NewAuthority(s)
	s.backends("shop")
	first := authority.Secret(s, "first", fairway.Wish{Names: []string{"pair.test"}, RSA: true})
	second := authority.Secret(s, "second", fairway.Wish{Names: []string{"pair.test"}})
	s.create(first, second, overTLS(overTLS(withRules("pair", rule("pair.test", "/", "shop")), "first", "pair.test"), "second", "pair.test"))
	s.soon(
		fairway.PresentsToOld("pair.test", first),
		fairway.Presents("pair.test", second),
		answeredTo(nil, "pair.test", "pair.test", "shop"),
	)
	rotated := authority.Secret(s, "second", fairway.Wish{Names: []string{"pair.test"}})
	update(s, withNameOf(second, rotated))
	s.soon(
		fairway.Presents("pair.test", rotated),
		fairway.PresentsToOld("pair.test", first),
	)
	s.delete(first)
	s.soon(s.said("pair", string(route.ReasonSecretNotFound), "Secret first cannot be used"))
	s.soon(fairway.PresentsToOld("pair.test", first), fairway.Presents("pair.test", rotated)) // the last good one
}

// withNameOf is of with the contents of another Secret.
func withNameOf(of, contents *corev1.Secret) *corev1.Secret {
	made := of.DeepCopy()
	made.Data = contents.Data
	return made
}

// TLS ends at the backend, which is asked for its certificate.
func testPassthrough(s *site) {
	s.backends("shop")
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Backend", "raw of "+r.TLS.ServerName)
	}))
	ip := s.fairway.Address()
	backend.Listener.Close()
	backend.Listener = fairway.Listen(s, ip)
	backend.StartTLS()
	s.Cleanup(backend.Close)
	service, slice := fairway.Service("raw"), fairway.Slice("raw", ip)
	s.create(service, slice)
	s.create(
		annotated(withRules("raw", rule("raw.test", "/", "raw")), route.AnnotationTLSPassthrough, "true"),
		withRules("open", rule("open.test", "/", "shop")),
	)
	s.soon(
		answeredTo(nil, "raw.test", "raw.test", "raw of raw.test"),
		answered("raw.test", "/", "308"),
		answeredTo(nil, "open.test", "raw.test", "421"),
		answeredTo(nil, "open.test", "open.test", "shop"),
	)
	change(s, slice, func(slice *discoveryv1.EndpointSlice) { slice.Endpoints = nil })
	s.soon(answeredTo(nil, "raw.test", "raw.test", "refused"))
	s.create(annotated(withRules("wrong", rule("", "/", "raw")), route.AnnotationTLSPassthrough, "true"))
	s.soon(s.said("wrong", string(route.ReasonPassthroughInvalid), "rules without a host are answered 503"))
}

// A policy that comes, changes and goes closes no connection of another host, nor
// of another policy.
func testConnectionsStay(s *site) {
	authority := fairway.NewAuthority(s)
	alice := authority.Client(s, "alice")
	s.backends("shop")
	s.create(authority.CASecret("staff-ca"), authority.CASecret("other-ca"))
	s.create(
		withRules("open", rule("open.stay.test", "/", "shop")),
		annotated(withRules("staff", rule("staff.stay.test", "/", "shop")), route.AnnotationClientCA, "staff-ca"),
	)
	s.soon(answeredTo(nil, "open.stay.test", "open.stay.test", "shop"), answeredTo(alice, "staff.stay.test", "staff.stay.test", "shop alice"))
	open := append(openConnections(s, "open.stay.test", 3), openAs(s, alice, "staff.stay.test"))
	for _, use := range open {
		if err := use(); err != nil {
			s.Fatal(err)
		}
	}
	for i := range 5 {
		host := fmt.Sprintf("h%d.stay.test", i)
		ca := []string{"staff-ca", "other-ca"}[i%2]
		made := annotated(withRules(fmt.Sprintf("h%d", i), rule(host, "/", "shop")), route.AnnotationClientCA, ca)
		s.create(made)
		s.soon(answeredTo(alice, host, host, "shop alice"), answeredTo(nil, host, host, "refused"))
		change(s, made, func(i *networkingv1.Ingress) {
			i.Annotations[route.AnnotationClientCertificate] = route.ClientOptional
		})
		s.soon(answeredTo(nil, host, host, "shop"))
		change(s, made, func(i *networkingv1.Ingress) { i.Annotations = nil })
		s.soon(answered(host, "/", "shop"))
	}
	for _, use := range open {
		if err := use(); err != nil {
			s.Errorf("a connection that was open: %v", err)
		}
	}
}

// openAs is openConnections of one client with a certificate.
func openAs(s *site, client *tls.Certificate, host string) func() error {
	s.Helper()
	h2 := overH2(s, client, host)
	return func() error {
		request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://"+host+"/", nil)
		if err != nil {
			return err
		}
		response, err := h2.RoundTrip(request)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			err = fmt.Errorf("answered %d", response.StatusCode)
		}
		return errors.Join(err, response.Body.Close())
	}
}
