package acme_test

import (
	"crypto"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	xacme "golang.org/x/crypto/acme"

	"github.com/fairwaynet/fairway/test/acme"
	ours "github.com/fairwaynet/fairway/tls/acme"
)

// held is a certificate with what its owner knows of it.
type held struct {
	order ours.Order
	info  ours.RenewalInfo
}

func (h held) judge(now time.Time) ours.Verdict {
	return ours.Judge(ours.Situation{
		Want: h.order.Want, Chain: h.order.Chain, Key: h.order.Key.Reveal(),
		Directory: h.order.Want.Directory, Info: h.info, Now: now,
	})
}

// ask asks for renewal information when it is due.
func (h *held) ask(t testing.TB, client *ours.Client, now *clock) {
	t.Helper()
	now.to(h.info.Next)
	info, err := client.RenewalInfo(t.Context(), h.order.Chain, h.info)
	if err != nil {
		t.Fatal(err)
	}
	h.info = info
}

func TestRenewalIsPulledForward(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	now := &clock{}
	client := newClient(t, s.settings(), newAccount(t), now, nil)
	first := held{order: s.issue(client, now, "", "shop.test")}
	first.ask(t, client, now)
	verdict := first.judge(now.now())
	if verdict.Issue() || verdict.At.Before(first.info.Start) || verdict.At.After(first.info.End) || !first.info.Known() {
		t.Fatalf("after it was issued: %+v of %+v", verdict, first.info)
	}
	if wait := first.info.Next.Sub(now.now()); wait < 5*time.Hour || wait > 7*time.Hour { // Pebble says 6
		t.Errorf("it asks again in %s", wait)
	}

	const why = "https://ca.test/incident"
	s.authority.SetRenewalInfo(t, first.order.Chain, now.now().Add(-2*time.Hour), now.now().Add(time.Hour), why)
	if first.ask(t, client, now); first.info.Explanation != why {
		t.Errorf("explained by %q", first.info.Explanation)
	}
	if verdict := first.judge(first.info.Point()); verdict.Reason != ours.WindowReached {
		t.Errorf("at its point: %+v", verdict)
	}
	if verdict := first.judge(first.info.Point().Add(-time.Second)); verdict.Issue() {
		t.Errorf("before its point: %+v", verdict)
	}
	// Where the authority suggests a time in the past, the certificate is to go.
	verdict = first.judge(now.now().Add(2 * time.Hour))
	if verdict.Reason != ours.Recalled || !strings.Contains(verdict.Text, why) {
		t.Errorf("after its window: %+v", verdict)
	}

	second := held{order: s.issue(client, now, first.info.Replaces(), "shop.test")}
	if second.order.Replaces == "" || second.order.Key.Equal(first.order.Key) {
		t.Errorf("replaces %q; the same key: %t", second.order.Replaces, second.order.Key.Equal(first.order.Key))
	}
	second.ask(t, client, now)
	if verdict := second.judge(now.now()); verdict.Issue() {
		t.Errorf("after it was renewed: %+v", verdict)
	}
	// What is known of the first says nothing of the second.
	second.info = first.info
	if verdict := second.judge(now.now().Add(2 * time.Hour)); verdict.Issue() {
		t.Errorf("by another's information: %+v", verdict)
	}
}

func TestARevokedCertificateIsReplaced(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	now := &clock{}
	client := newClient(t, s.settings(), newAccount(t), now, nil)
	cert := held{order: s.issue(client, now, "", "shop.test")}
	cert.ask(t, client, now)
	revoke(t, s, cert.order)
	cert.ask(t, client, now)
	verdict := cert.judge(now.now())
	if verdict.Reason != ours.Recalled || !strings.HasPrefix(verdict.Text, "the issuer asks for another certificate at once") {
		t.Fatalf("after it was revoked: %+v", verdict)
	}
	s.issue(client, now, cert.info.Replaces(), "shop.test")
}

// revoke has whoever holds the key revoke the certificate.
func revoke(t *testing.T, s *site, order ours.Order) {
	t.Helper()
	transport := s.authority.Transport()
	defer transport.CloseIdleConnections()
	pair, err := tls.X509KeyPair(order.Chain, order.Key.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		t.Fatal("its key cannot sign")
	}
	by := &xacme.Client{Key: key, HTTPClient: &http.Client{Transport: transport}, DirectoryURL: s.authority.Directory}
	if err := by.RevokeCert(t.Context(), key, pair.Certificate[0], xacme.CRLReasonKeyCompromise); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsReplacedAlready(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	now := &clock{}
	client := newClient(t, s.settings(), newAccount(t), now, nil)
	first := held{order: s.issue(client, now, "", "shop.test")}
	first.ask(t, client, now)
	s.issue(client, now, first.info.Replaces(), "shop.test")
	before := s.authority.Orders()
	third := s.issue(client, now, first.info.Replaces(), "shop.test")
	if third.Replaces != "" || s.authority.Orders() != before+1 {
		t.Errorf("it replaces %q; %d orders", third.Replaces, s.authority.Orders()-before)
	}

	// Another account's certificate cannot be replaced, and need not be.
	other := newClient(t, s.settings(), newAccount(t), now, nil)
	s.issue(other, now, first.info.Replaces(), "shop.test")
	s.issue(other, now, "bm90aGluZw.bm90aGluZw", "shop.test")

	// One for other names neither: Pebble says that as if it were out of order.
	unrelated := held{order: s.issue(client, now, "", "here.test")}
	unrelated.ask(t, client, now)
	before = s.authority.Orders()
	order := s.run(client, now, plan(t, client, unrelated.info.Replaces(), "elsewhere.test"), ours.Done)
	if s.check(order); order.Replaces != "" || s.authority.Orders() != before+1 {
		t.Errorf("it replaces %q; %d orders", order.Replaces, s.authority.Orders()-before)
	}
}

func TestRenewalInformationThatIsNone(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	now := &clock{}
	client := newClient(t, s.settings(), newAccount(t), now, nil)
	cert := held{order: s.issue(client, now, "", "shop.test")}
	cert.ask(t, client, now)
	known := cert.info
	for _, answer := range []string{`no JSON`, `{}`, `{"suggestedWindow":{"start":"2026-11-02T00:00:00Z","end":"2026-11-01T00:00:00Z"}}`} {
		s.authority.SetRenewalAnswer(t, cert.order.Chain, answer)
		now.to(cert.info.Next)
		info, err := client.RenewalInfo(t.Context(), cert.order.Chain, cert.info)
		if err == nil || !info.Start.Equal(known.Start) || !info.End.Equal(known.End) {
			t.Errorf("%s: %+v, %v", answer, info, err)
		}
		if wait := info.Next.Sub(now.now()); wait < time.Minute-time.Second {
			t.Errorf("%s: it asks again in %s", answer, wait)
		}
		cert.info = info
	}
	if cert.info.Failures != 3 {
		t.Errorf("%d failures", cert.info.Failures)
	}
	if info, err := client.RenewalInfo(t.Context(), cert.order.Chain, cert.info); err != nil || info != cert.info {
		t.Errorf("before it was due: %+v, %v", info, err)
	}
}
