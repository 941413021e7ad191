package acme_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/acme"
	ours "github.com/fairwaynet/fairway/tls/acme"
)

// site is where an authority looks: it answers what it was last told to, over
// HTTP, TLS and DNS.
type site struct {
	t         testing.TB
	authority *acme.Authority
	http, tls net.Listener

	mu      sync.Mutex
	answers []ours.Challenge
	records map[string]bool // TXT records that were set
	silent  map[ours.ChallengeType]bool
	hidden  string // why challenges are not presented; empty: they are
}

// newSite starts a site, and an authority that looks at it.
func newSite(t testing.TB, options acme.Options) *site {
	t.Helper()
	s := &site{t: t, records: map[string]bool{}, silent: map[ours.ChallengeType]bool{}}
	s.http, s.tls = listen(t), listen(t)
	options.HTTPPort = s.http.Addr().(*net.TCPAddr).Port
	options.TLSPort = s.tls.Addr().(*net.TCPAddr).Port
	s.authority = acme.Start(t, options)
	server := &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: time.Minute}
	handshakes := &http.Server{
		Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{NextProtos: []string{"acme-tls/1"}, GetCertificate: s.certificate, MinVersion: tls.VersionTLS12},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			"acme-tls/1": func(_ *http.Server, c *tls.Conn, _ http.Handler) { c.Close() },
		},
		ErrorLog: log.New(io.Discard, "", 0), // names without a challenge are part of the test
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(s.http) })               //nolint:errcheck // it ends with the test
	serving.Go(func() { handshakes.ServeTLS(s.tls, "", "") }) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { server.Close(); handshakes.Close(); serving.Wait() })
	return s
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// answer has the site answer these challenges besides those before.
func (s *site) answer(challenges []ours.Challenge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range challenges {
		s.answers = append(s.answers, c)
		if c.Type == ours.DNS01 && !s.records[c.Record()] {
			s.records[c.Record()] = true
			s.authority.SetTXT(s.t, c.RecordName(), c.Record())
		}
	}
}

func (s *site) silence(kind ours.ChallengeType, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent[kind] = silent
}

func (s *site) find(kind ours.ChallengeType, fits func(ours.Challenge) bool) (ours.Challenge, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.answers {
		c := s.answers[len(s.answers)-1-i]
		if c.Type == kind && fits(c) && !s.silent[kind] {
			return c, true
		}
	}
	return ours.Challenge{}, false
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	c, ok := s.find(ours.HTTP01, func(c ours.Challenge) bool { return c.Path() == r.URL.Path })
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Write([]byte(c.KeyAuthorization))
}

func (s *site) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, ok := s.find(ours.TLSALPN01, func(c ours.Challenge) bool { return c.Name == hello.ServerName })
	if !ok {
		return nil, errors.New("no challenge of this name")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	digest := c.Digest()
	value, err := asn1.Marshal(digest[:])
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{c.Name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: true, Value: value}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Presented implements acme.Presenter: what was answered is presented.
func (s *site) Presented(_ context.Context, c ours.Challenge) (ok bool, why string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hidden != "" {
		return false, s.hidden, nil
	}
	for _, answer := range s.answers {
		if answer == c {
			return true, "", nil
		}
	}
	return false, "it was not saved", nil
}

// clock is the real one, which jumps over waits.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// to jumps, if it is not that late yet.
func (c *clock) to(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = max(c.ahead, time.Until(at))
}

// settings are those for the site's authority.
func (s *site) settings(challenges ...ours.ChallengeType) ours.Settings {
	return ours.Settings{
		Directory: s.authority.Directory, CABundle: s.authority.CA, Email: "hostmaster@shop.test", TermsAgreed: true,
		Profile: "default", Challenges: challenges,
	}
}

func newAccount(t testing.TB) ours.Account {
	t.Helper()
	account, err := ours.NewAccount(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// newClient makes a client as a process does that has just started.
func newClient(t testing.TB, settings ours.Settings, account ours.Account, c *clock, transport http.RoundTripper) *ours.Client {
	t.Helper()
	client, err := ours.New(ours.Options{
		Settings: settings, Account: account, Now: c.now, Random: rand.Reader, UserAgent: "fairway/test", Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func plan(t testing.TB, client *ours.Client, replaces string, names ...string) ours.Order {
	t.Helper()
	order, err := client.Plan(replaces, names...)
	if err != nil {
		t.Fatal(err)
	}
	return order
}

// stored is an order after it was saved and read again, as by a process that
// starts.
func stored(t testing.TB, order ours.Order) ours.Order {
	t.Helper()
	text, err := order.Save()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ours.Restore(text.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// run takes an order on, as a controller does, until it is in that state. Every
// step begins with what was saved.
func (s *site) run(client *ours.Client, c *clock, order ours.Order, until ours.State) ours.Order {
	s.t.Helper()
	return s.watch(client, c, order, until, nil)
}

// watch is run that hears of each failed step.
func (s *site) watch(client *ours.Client, c *clock, order ours.Order, until ours.State, failed func(error)) ours.Order {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for order = stored(s.t, order); order.State != until; {
		s.answer(order.Challenges())
		c.to(order.Due)
		next, err := client.Advance(s.t.Context(), order, s)
		var failure *ours.Failure
		if err != nil && !errors.As(err, &failure) {
			s.t.Fatalf("in state %s: %v", order.State, err)
		}
		if err != nil && failed != nil {
			failed(err)
		}
		order = stored(s.t, next)
		select {
		case <-deadline:
			s.t.Fatalf("the order is %s, and waits for %q; %v", order.State, order.Waiting, order.Failure)
		case <-tick.C:
		}
	}
	return order
}

// issue gets a certificate, without any failure on the way, and looks that it is
// what was wanted.
func (s *site) issue(client *ours.Client, c *clock, replaces string, names ...string) ours.Order {
	s.t.Helper()
	order := s.watch(client, c, plan(s.t, client, replaces, names...), ours.Done, func(err error) { s.t.Error(err) })
	s.check(order)
	return order
}

// check has a client's own library look at the certificate.
func (s *site) check(order ours.Order) *x509.Certificate {
	s.t.Helper()
	pair, err := tls.X509KeyPair(order.Chain, order.Key.Reveal())
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		s.t.Fatal(err)
	}
	between := x509.NewCertPool()
	between.AppendCertsFromPEM(order.Chain)
	for _, name := range order.Want.Names {
		if name[0] == '*' {
			name = "any" + name[1:]
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: s.authority.Roots(s.t), Intermediates: between, DNSName: name}); err != nil {
			s.t.Error(err)
		}
	}
	return leaf
}
