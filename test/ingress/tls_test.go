package ingress_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/route"
)

func TestTLS(t *testing.T) {
	r := start(t, fairway.Options{Flags: []string{"-v"}, Record: true})
	authority := fairway.NewAuthority(t)
	for _, feature := range []struct {
		name string
		test func(*site, *fairway.Authority)
	}{
		{"certificates", testCertificates},
		{"curl", testCurl},
		{"redirect", testRedirect},
		{"rotation", testRotation},
		{"broken secrets", testBrokenSecrets},
		{"other types", testOtherTypes},
		{"namespaces", testSecretsOfNamespaces},
	} {
		t.Run(feature.name, func(t *testing.T) { feature.test(newSite(t, r), authority) })
	}
}

// The certificate of --default-certificate is served where a host has none, and
// to clients that send no name; what replaces it is, too, and what cannot be used
// displaces nothing.
func TestDefaultCertificate(t *testing.T) {
	authority := fairway.NewAuthority(t)
	fallback := authority.Secret(t, "fallback", fairway.Wish{Names: []string{"fallback.test"}})
	fallback.Namespace = "fairway-system"
	r := start(t, fairway.Options{
		Flags:  []string{"--default-certificate", "fairway-system/fallback"},
		Before: func(r *fairway.Installation) { r.Create(t, fallback) },
	})
	s := newSite(t, r)
	s.backends("shop")
	s.create(overTLS(withRules("bare", rule("bare.test", "/", "shop")), "", "bare.test"))
	for _, name := range []string{"bare.test", ""} {
		fairway.Eventually(t, patience, fairway.Presents(name, fallback))
	}
	fairway.Eventually(t, patience, fairway.Refuses("unknown.test"))
	broken := fallback.DeepCopy()
	broken.Data[corev1.TLSCertKey] = []byte("nothing")
	update(s, broken)
	fairway.Eventually(t, patience, r.Metric(`fairway_problems{kind="Secret",reason="CertificateInvalid"} 1`))
	if err := fairway.Presents("bare.test", fallback)(t.Context()); err != nil {
		t.Errorf("the last good certificate is gone: %v", err)
	}
	fallback.Data = authority.Secret(t, "", fairway.Wish{Names: []string{"fallback.test"}}).Data
	update(s, fallback)
	fairway.Eventually(t, patience, fairway.Presents("bare.test", fallback))
	fairway.Eventually(t, patience, r.NoMetric("fairway_problems"))
}

// Two controllers, and one that is started again, have the same self-signed
// certificate.
func TestTheSelfSignedCertificateIsOne(t *testing.T) {
	r := start(t, fairway.Options{Replicas: 2, Envoys: 2, Pinned: true})
	s := newSite(t, r)
	s.backends("shop")
	s.create(overTLS(withRules("bare", rule("bare.test", "/", "shop")), ""))
	serials := map[string]bool{}
	look := func() {
		for range 30 { // the kernel spreads them over both Envoys
			fairway.Eventually(t, patience, func(ctx context.Context) error {
				conn, err := fairway.Handshake(ctx, "bare.test", nil)
				if err != nil {
					return err
				}
				defer conn.Close()
				serials[conn.ConnectionState().PeerCertificates[0].SerialNumber.String()] = true
				return nil
			})
		}
	}
	look()
	r.Controller.Kill()
	r.StartController(t)
	fairway.Eventually(t, patience, r.Ready)
	look()
	if len(serials) != 1 {
		t.Errorf("clients have seen %d certificates", len(serials))
	}
}

// overTLS is an Ingress with an entry of spec.tls: a Secret, and its hosts, none
// for all of the Ingress.
func overTLS(i *networkingv1.Ingress, secret string, hosts ...string) *networkingv1.Ingress {
	i.Spec.TLS = append(i.Spec.TLS, networkingv1.IngressTLS{SecretName: secret, Hosts: hosts})
	return i
}

// A client gets the certificate of the most specific name, by TLS 1.2 and 1.3,
// with HTTP/2 and HTTP/1.1, RSA or ECDSA; and the hosts behind it are those of
// HTTP.
func testCertificates(s *site, authority *fairway.Authority) {
	s.backends("shop", "wild", "rest")
	exact := authority.Secret(s, "exact", fairway.Wish{Names: []string{"a.tls.test"}, RSA: true})
	wildcard := authority.Secret(s, "wildcard", fairway.Wish{Names: []string{"*.tls.test"}})
	s.create(exact, wildcard,
		overTLS(withRules("exact", rule("a.tls.test", "/", "shop")), "exact", "a.tls.test"),
		overTLS(withRules("wild", rule("*.tls.test", "/", "wild")), "wildcard", "*.tls.test"),
		overTLS(withRules("plain", rule("none.test", "/", "rest")), "", "none.test"),
	)
	fairway.Eventually(s, patience, fairway.Presents("a.tls.test", exact))
	fairway.Eventually(s, patience, fairway.Presents("b.tls.test", wildcard))
	fairway.Eventually(s, patience, fairway.Presents("B.TLS.test", wildcard))
	fairway.Eventually(s, patience, fairway.PresentsDefault("none.test"))
	fairway.Eventually(s, patience, fairway.PresentsDefault(""))
	fairway.Eventually(s, patience, fairway.Refuses("x.b.tls.test"))
	fairway.Eventually(s, patience, fairway.Refuses("unknown.test"))
	for host, want := range map[string]string{"a.tls.test": "shop", "b.tls.test": "wild", "none.test": "rest"} {
		if a, err := fairway.GetTLS(s.Context(), host, "/"); err != nil || a.Header.Get("Backend") != want {
			s.Errorf("%s: %+v, %v", host, a, err)
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, protocol := range []string{"h2", "http/1.1"} {
			conn, err := fairway.Handshake(s.Context(), "a.tls.test", &tls.Config{
				MinVersion: version, MaxVersion: version, NextProtos: []string{protocol},
			})
			if err != nil {
				s.Fatal(err)
			}
			if got := conn.ConnectionState().NegotiatedProtocol; got != protocol {
				s.Errorf("negotiated %q, want %q", got, protocol)
			}
			conn.Close()
		}
	}
	if conn, err := fairway.Handshake(s.Context(), "a.tls.test", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		conn.Close()
		s.Error("TLS 1.1 is accepted")
	}
	// Without a certificate of its own, a name has that of the wildcard.
	s.delete(exact)
	s.now("unknown.test", "/", notFound)
	fairway.Eventually(s, patience, s.fairway.Metric(`fairway_problems{kind="Ingress",reason="SecretNotFound"} 1`))
	if err := fairway.Presents("a.tls.test", exact)(s.Context()); err != nil {
		s.Errorf("the last good certificate is gone with its secret: %v", err)
	}
}

// Requests over HTTP for hosts with TLS are sent to HTTPS as they are; an
// Ingress can do without.
func testRedirect(s *site, authority *fairway.Authority) {
	s.backends("shop")
	s.create(authority.Secret(s, "all", fairway.Wish{Names: []string{"a.redirect.test", "*.redirect.test"}}))
	plain := withRules("plain", rule("plain.redirect.test", "/", "shop"))
	plain.Annotations = map[string]string{route.AnnotationSSLRedirect: "false"}
	mixed := withRules("mixed", rule("a.redirect.test", "/plain", "shop"))
	mixed.Annotations = plain.Annotations
	many := withRules("many", rule("many.redirect.test"))
	for i := range 40 {
		many.Spec.Rules[0].HTTP.Paths = append(many.Spec.Rules[0].HTTP.Paths, path(fmt.Sprintf("/p%d", i), "shop"))
	}
	s.create(
		overTLS(withRules("exact", rule("a.redirect.test", "/", "shop")), "all", "a.redirect.test"),
		overTLS(withRules("wild", rule("*.redirect.test", "/", "shop")), "all", "*.redirect.test"),
		overTLS(withRules("any", rule("", "/", "shop")), "all"),
		overTLS(plain, "all", "*.redirect.test"),
		overTLS(mixed, "all", "a.redirect.test"),
		overTLS(many, "all", "*.redirect.test"),
	)
	for _, host := range []string{"a.redirect.test", "b.redirect.test", "other.test", "A.redirect.test:8080", "many.redirect.test"} {
		path := "/p7/x?a=b%20c"
		fairway.Eventually(s, patience, fairway.Status(host, path, http.StatusPermanentRedirect))
		a, err := fairway.Do(s.Context(), http.MethodPost, host, path, "body")
		name, _, named := strings.Cut(host, ":")
		want := "https://" + name + path
		if named {
			want = "https://" + name + ":443" + path
		}
		if err != nil || a.Status != http.StatusPermanentRedirect || a.Header.Get("Location") != want {
			s.Errorf("POST %s: %d to %q, %v; want %s", host, a.Status, a.Header.Get("Location"), err, want)
		}
		fairway.Eventually(s, patience, func(ctx context.Context) error {
			if a, err := fairway.GetTLS(ctx, name, path); err != nil || a.Header.Get("Backend") != "shop" {
				return fmt.Errorf("over TLS %s: %+v, %w", name, a, err)
			}
			return nil
		})
	}
	s.eventually("plain.redirect.test", "/", "shop")
	s.eventually("a.redirect.test", "/plain", "shop")
	s.now("many.redirect.test", "/none", "308")
}

// What is wrong with a Secret is said on the Ingress that names it, and costs
// nothing else; when it is mended, it is served.
func testBrokenSecrets(s *site, authority *fairway.Authority) {
	s.backends("shop")
	good := authority.Secret(s, "good", fairway.Wish{Names: []string{"good.broken.test"}})
	s.create(good, overTLS(withRules("good", rule("good.broken.test", "/", "shop")), "good"))
	fairway.Eventually(s, patience, fairway.Presents("good.broken.test", good))
	for _, c := range []struct {
		reason, says string
		broken       func(good *corev1.Secret)
	}{
		{string(route.ReasonCertificateInvalid), "the chain cannot be read: it is not PEM", func(good *corev1.Secret) {
			good.Data[corev1.TLSCertKey] = []byte("nothing")
		}},
		{string(route.ReasonCertificateInvalid), "the chain cannot be read: block 2 (CERTIFICATE, line", func(good *corev1.Secret) {
			chain := good.Data[corev1.TLSCertKey]
			good.Data[corev1.TLSCertKey] = append(chain, bytes.Replace(authority.PEM(), []byte("\n"), []byte("\n*"), 1)...)
		}},
		{string(route.ReasonCertificateInvalid), "the key does not belong to the certificate", func(good *corev1.Secret) {
			_, good.Data[corev1.TLSPrivateKeyKey] = authority.Issue(s, fairway.Wish{})
		}},
		{string(route.ReasonCertificateExpired), "the certificate expired on", func(good *corev1.Secret) {
			good.Data = authority.Secret(s, "", fairway.Wish{Names: []string{"good.broken.test"}, Until: time.Now().Add(-time.Minute)}).Data
		}},
		{string(route.ReasonCertificateNames), `its certificate is for other.test, not for "good.broken.test"`, func(good *corev1.Secret) {
			good.Data = authority.Secret(s, "", fairway.Wish{Names: []string{"other.test"}}).Data
		}},
		{string(route.ReasonSecretInvalid), "it has no tls.key", func(good *corev1.Secret) {
			good.Data[corev1.TLSPrivateKeyKey] = nil
		}},
	} {
		problem := fmt.Sprintf(`fairway_problems{kind="Ingress",reason="%s"} 1`, c.reason)
		broken := good.DeepCopy()
		c.broken(broken)
		update(s, broken)
		fairway.Eventually(s, patience, s.fairway.Metric(problem))
		fairway.Eventually(s, patience, s.said("good", c.reason, c.says))
		if err := fairway.Presents("good.broken.test", good)(s.Context()); err != nil {
			s.Errorf("%s: the last good certificate is not served: %v", c.says, err)
		}
		good.Data = authority.Secret(s, "", fairway.Wish{Names: []string{"good.broken.test"}}).Data
		update(s, good)
		fairway.Eventually(s, patience, fairway.Presents("good.broken.test", good))
		fairway.Eventually(s, patience, s.fairway.NoMetric("fairway_problems"))
	}
	// A host whose Secret is not there yet is served all the same, and mended by
	// its appearance.
	s.create(overTLS(withRules("late", rule("late.broken.test", "/", "shop")), "late"))
	fairway.Eventually(s, patience, s.said("late", string(route.ReasonSecretNotFound), `Secret late cannot be used: it does not exist`))
	fairway.Eventually(s, patience, fairway.PresentsDefault("late.broken.test"))
	late := authority.Secret(s, "late", fairway.Wish{Names: []string{"late.broken.test"}})
	s.create(late)
	fairway.Eventually(s, patience, fairway.Presents("late.broken.test", late))
	fairway.Eventually(s, patience, s.fairway.NoMetric("fairway_problems"))
}

func update(s *site, secret *corev1.Secret) {
	s.Helper()
	secret = secret.DeepCopy()
	secret.ResourceVersion = ""
	if err := s.fairway.Client.Update(s.Context(), secret); err != nil {
		s.Fatal(err)
	}
}

// said is a check for fairway.Eventually: an Ingress has an event with that reason
// and those words.
func (s *site) said(ingress, reason, words string) func(context.Context) error {
	return func(ctx context.Context) error {
		var list corev1.EventList
		if err := s.fairway.Client.List(ctx, &list); err != nil {
			return err
		}
		var said []string
		for _, e := range list.Items {
			if e.Namespace == s.namespace && e.InvolvedObject.Name == ingress {
				said = append(said, e.Reason+": "+e.Message)
				if e.Reason == reason && strings.Contains(e.Message, words) {
					return nil
				}
			}
		}
		slices.Sort(said)
		return fmt.Errorf("nobody says %s: %s; said is %q", reason, words, said)
	}
}

// A Secret that no watch tells of is read by its name; one of a type that holds
// no certificate is a Problem.
func testOtherTypes(s *site, authority *fairway.Authority) {
	s.backends("shop")
	opaque := authority.Secret(s, "opaque", fairway.Wish{Names: []string{"opaque.test"}})
	opaque.Type = corev1.SecretTypeOpaque
	wrong := &corev1.Secret{Type: "example.com/other", Data: opaque.Data}
	wrong.Name = "wrong"
	s.create(opaque, wrong)
	s.create(
		overTLS(withRules("opaque", rule("opaque.test", "/", "shop")), "opaque"),
		overTLS(withRules("wrong", rule("wrong.test", "/", "shop")), "wrong"),
	)
	fairway.Eventually(s, patience, fairway.Presents("opaque.test", opaque))
	fairway.Eventually(s, patience, s.said("wrong", string(route.ReasonSecretInvalid), `it is of type "example.com/other"`))
}

// A Secret of another namespace is never used, and a name belongs to the
// namespace that asked for it first.
func testSecretsOfNamespaces(s *site, authority *fairway.Authority) {
	s.backends("shop")
	mine := authority.Secret(s, "mine", fairway.Wish{Names: []string{"mine.test"}})
	s.create(mine)
	s.create(overTLS(withRules("mine", rule("mine.test", "/", "shop")), "mine"))
	fairway.Eventually(s, patience, fairway.Presents("mine.test", mine))

	s.nextSecond()
	other := newSite(s.T, s.fairway)
	other.create(authority.Secret(s, "theirs", fairway.Wish{Names: []string{"mine.test"}}))
	other.create(
		overTLS(withRules("steals", rule("steals.test", "/", "shop")), "mine"),
		overTLS(withRules("claims", rule("claims.test", "/", "shop")), "theirs", "mine.test"),
	)
	fairway.Eventually(s, patience, other.said("steals", string(route.ReasonSecretNotFound), "Secret mine cannot be used"))
	fairway.Eventually(s, patience, other.said("claims", string(route.ReasonTLSHostConflict), "Ingress "+s.namespace+"/mine"))
	fairway.Eventually(s, patience, fairway.PresentsDefault("steals.test"))
	if err := fairway.Presents("mine.test", mine)(s.Context()); err != nil {
		s.Error(err)
	}
}
