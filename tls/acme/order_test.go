package acme_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/test/acme"
	ours "github.com/fairwaynet/fairway/tls/acme"
)

func TestACertificateByEachChallenge(t *testing.T) {
	s := newSite(t, acme.Options{RetryAfterSeconds: 1})
	for _, c := range []struct {
		challenge ours.ChallengeType
		profile   string
		key       ours.KeyType
		names     []string
		days      int
	}{
		{ours.HTTP01, "default", ours.ECDSAP256, []string{"shop.test"}, 90},
		{ours.HTTP01, "shortlived", ours.RSA2048, []string{"B.test", "a.test", "a.test."}, 6},
		{ours.TLSALPN01, "shortlived", ours.ECDSAP384, []string{"shop.test"}, 6},
		{ours.TLSALPN01, "default", "", []string{"c.test", "d.test"}, 90},
		{ours.DNS01, "default", "", []string{"shop.test", "*.shop.test"}, 90},
		{ours.DNS01, "shortlived", "", []string{"*.other.test"}, 6},
	} {
		t.Run(string(c.challenge)+" "+c.profile, func(t *testing.T) {
			settings := s.settings(c.challenge)
			settings.Profile, settings.KeyType = c.profile, c.key
			now := &clock{}
			client := newClient(t, settings, newAccount(t), now, nil)
			order := s.issue(client, now, "", c.names...)
			leaf := s.check(order)
			if days := int(leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Hour).Hours() / 24); days != c.days {
				t.Errorf("it is valid for %d days, want %d", days, c.days)
			}
			if !order.Want.Equal(settings.Want(c.names...)) {
				t.Errorf("the order is for %+v", order.Want)
			}
			verdict := ours.Judge(ours.Situation{Want: order.Want, Chain: order.Chain, Key: order.Key.Reveal(), Now: now.now()})
			if verdict.Issue() {
				t.Errorf("what was just issued must be issued: %s", verdict.Text)
			}
		})
	}
}

func TestTheChainThatIsPreferred(t *testing.T) {
	s := newSite(t, acme.Options{AlternateRoots: 1, AlwaysValid: true})
	block, _ := pem.Decode(s.authority.Root(t, 1))
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for prefer, want := range map[string]bool{root.Subject.CommonName: true, "": false, "nobody": false} {
		settings := s.settings()
		settings.Chain = prefer
		now := &clock{}
		order := s.issue(newClient(t, settings, newAccount(t), now, nil), now, "", "shop.test")
		roots := x509.NewCertPool()
		roots.AddCert(root)
		between := x509.NewCertPool()
		between.AppendCertsFromPEM(order.Chain)
		_, err := s.check(order).Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		if (err == nil) != want {
			t.Errorf("preferred %q: %v", prefer, err)
		}
	}
}

func TestAnExternalAccount(t *testing.T) {
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	s := newSite(t, acme.Options{AlwaysValid: true, ExternalAccounts: map[string]string{"kid-1": key}})
	for _, c := range []struct {
		name    string
		account *ours.ExternalAccount
		want    string
	}{
		{"ours", &ours.ExternalAccount{KeyID: "kid-1", Key: secret.New([]byte(key + "=\n"))}, ""},
		{"none", nil, "the issuer wants an external account: get a key ID and a key from it"},
		{"unknown", &ours.ExternalAccount{KeyID: "kid-2", Key: secret.New([]byte(key))}, "register account: "},
		{"another's key", &ours.ExternalAccount{KeyID: "kid-1", Key: secret.New([]byte("aGVsbG8"))}, "register account: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := s.settings()
			settings.ExternalAccount = c.account
			client := newClient(t, settings, newAccount(t), &clock{}, nil)
			_, err := client.Check(t.Context())
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				s.issue(client, &clock{}, "", "shop.test")
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), key) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestWhatTheSettingsLack(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true, Blocked: []string{"blocked.test"}})
	for _, c := range []struct {
		name     string
		settings func(*ours.Settings)
		names    []string
		want     string
	}{
		{"terms", func(s *ours.Settings) { s.TermsAgreed = false }, nil, "terms of service, data:text/plain,"},
		{"profile", func(s *ours.Settings) { s.Profile = "gold" }, nil,
			`the issuer has no profile "gold"; it offers default, shortlived`},
		{"wildcard", func(s *ours.Settings) { s.Challenges = []ours.ChallengeType{ours.HTTP01} }, []string{"*.shop.test"},
			"*.shop.test: only dns-01 can prove a wildcard, and the issuer does not allow it"},
		{"name", func(*ours.Settings) {}, []string{"blocked.test", "shop.test"}, "blocked.test: "},
		{"roots", func(s *ours.Settings) { s.CABundle = nil }, nil, "give the issuer the CA bundle of its server"},
		{"directory", func(s *ours.Settings) { s.Directory += "ectory" }, nil, "/directory is no ACME directory, it answers 404: check"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := s.settings()
			c.settings(&settings)
			if c.names == nil {
				c.names = []string{"shop.test"}
			}
			now := &clock{}
			client := newClient(t, settings, newAccount(t), now, nil)
			before := s.authority.Orders()
			order, err := client.Advance(t.Context(), plan(t, client, "", c.names...), s)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if order = stored(t, order); order.Failure == nil || order.Failure.Text != err.Error() {
				t.Errorf("it does not keep why: %v", order.Failure)
			}
			if n := s.authority.Orders() - before; n != 0 {
				t.Errorf("%d orders were placed", n)
			}
			lasting := c.name != "roots" && c.name != "directory" // which can be mended while an order is under way
			if lasting && (order.State != ours.Failed || order.Failure.Kind != ours.Refused) {
				t.Errorf("state %s, %s", order.State, order.Failure.Kind)
			}
		})
	}
}

func TestAnAccountIsRegisteredOnce(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	fresh := newAccount(t)
	first, err := newClient(t, s.settings(), fresh, &clock{}, nil).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// What was returned was not saved. Whoever has an account needs to agree to
	// nothing again.
	disagreeing := s.settings()
	disagreeing.TermsAgreed = false
	second, err := newClient(t, disagreeing, fresh, &clock{}, nil).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.URL == "" || first.URL != second.URL || second.Orders == "" {
		t.Errorf("registered %q, then %q", first.URL, second.URL)
	}
	text, err := second.Save()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ours.RestoreAccount(text.Reveal())
	if err != nil || again.URL != first.URL || !again.Key.Equal(fresh.Key) {
		t.Errorf("restored %+v, %v", again, err)
	}
}

func TestAnotherAddressReachesTheAuthority(t *testing.T) {
	s := newSite(t, acme.Options{AlwaysValid: true})
	transport := s.authority.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	account, updates := newAccount(t), 0
	counting := scripted{transport, func(r *http.Request) *http.Response {
		if strings.Contains(r.URL.Path, "/my-account/") {
			updates++
		}
		return nil
	}}
	for _, email := range []string{"a@shop.test", "b@shop.test", "b@shop.test", ""} {
		settings := s.settings()
		settings.Email = email
		saved, err := newClient(t, settings, account, &clock{}, counting).Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		account = saved
	}
	// Half of all requests are refused for their nonce, and repeated.
	if updates == 0 {
		t.Error("it was not told")
	}
	before := updates
	settings := s.settings()
	settings.Email = "b@shop.test"
	if _, err := newClient(t, settings, account, &clock{}, counting).Check(t.Context()); err != nil || updates != before {
		t.Errorf("it was told again what it knew: %v", err)
	}
}

// An authority that has lost its memory knows neither the account nor the order.
func TestAnAuthorityThatForgets(t *testing.T) {
	s := newSite(t, acme.Options{})
	now := &clock{}
	client := newClient(t, s.settings(ours.HTTP01), newAccount(t), now, nil)
	account, err := client.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	order := s.run(client, now, plan(t, client, "", "shop.test"), ours.Authorizing)
	s.authority.Restart(t)
	order = s.run(client, now, order, ours.Done)
	s.check(order)
	if s.authority.Orders() != 1 {
		t.Errorf("%d orders", s.authority.Orders())
	}

	s.authority.Restart(t)
	stale := newClient(t, s.settings(ours.HTTP01), account, now, nil)
	again, err := stale.Check(t.Context())
	if err != nil || again.URL == account.URL || again.URL == "" {
		t.Errorf("account %q, was %q: %v", again.URL, account.URL, err)
	}
}

func TestManyOrdersAtOnce(t *testing.T) {
	s := newSite(t, acme.Options{})
	now := &clock{}
	client := newClient(t, s.settings(ours.HTTP01, ours.TLSALPN01), newAccount(t), now, nil)
	t.Run("all", func(t *testing.T) {
		for _, name := range []string{"a.test", "b.test", "c.test", "d.test", "e.test", "f.test"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s.issue(client, now, "", name, "www."+name)
			})
		}
	})
	if s.authority.Orders() != 6 || s.authority.Issued() != 6 {
		t.Errorf("%d orders, %d certificates", s.authority.Orders(), s.authority.Issued())
	}
}

// slowly counts requests that are no repetition because of a nonce.
type counter struct {
	http.RoundTripper
	n int
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n++
	return c.RoundTripper.RoundTrip(r)
}

func TestSlowValidationIsNotPolledInATightLoop(t *testing.T) {
	s := newSite(t, acme.Options{SlowSeconds: 3, RetryAfterSeconds: 1, NonceReject: -1})
	transport := s.authority.Transport()
	defer transport.CloseIdleConnections()
	calls := &counter{RoundTripper: transport}
	client := newClient(t, s.settings(ours.HTTP01), newAccount(t), &clock{}, calls)
	order := plan(t, client, "", "shop.test")
	began := time.Now()
	for range time.Tick(time.Millisecond) { // the real clock: Due alone must keep it from asking
		s.answer(order.Challenges())
		next, err := client.Advance(t.Context(), order, s)
		if err != nil {
			t.Fatal(err)
		}
		if order = next; order.State == ours.Done {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s, waits for %q", order.State, order.Waiting)
		}
	}
	most := 16 + 3*int(time.Since(began)/time.Second)
	t.Logf("%d calls in %s", calls.n, time.Since(began).Round(time.Millisecond))
	if calls.n > most {
		t.Errorf("%d calls in %s", calls.n, time.Since(began))
	}
}

func TestNothingIsAcceptedBeforeItIsPresented(t *testing.T) {
	s := newSite(t, acme.Options{})
	s.hidden = "1 of 2 replicas answer"
	now := &clock{}
	client := newClient(t, s.settings(ours.HTTP01), newAccount(t), now, nil)
	order := s.run(client, now, plan(t, client, "", "shop.test"), ours.Authorizing)
	for range 5 {
		s.answer(order.Challenges())
		now.to(order.Due)
		var err error
		if order, err = client.Advance(t.Context(), order, s); err != nil {
			t.Fatal(err)
		}
	}
	if order.Waiting != "shop.test: 1 of 2 replicas answer" || s.authority.Looks() != 0 {
		t.Errorf("it waits for %q; the authority has looked %d times", order.Waiting, s.authority.Looks())
	}
	s.mu.Lock()
	s.hidden = ""
	s.mu.Unlock()
	s.run(client, now, order, ours.Done)
}
