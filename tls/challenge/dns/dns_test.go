package dns

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/test/nameserver"
	"github.com/fairwaynet/fairway/tls/challenge"
)

const keyName = "fairway.key"

func key() string {
	return base64.StdEncoding.EncodeToString([]byte("thirty-two bytes of a secret key"))
}

// start is a server for shop.test that takes updates signed with the key, and a
// Resolver that asks it, and servers of zones at its port.
func start(t *testing.T) (*nameserver.Server, *Resolver) {
	t.Helper()
	s := nameserver.Start(t, "127.0.0.1:0", "test", map[string]string{keyName: key()})
	s.Add(t,
		"shop.test. 60 IN SOA ns.shop.test. root.shop.test. 1 60 60 60 60",
		"shop.test. 60 IN NS ns.shop.test.",
		"ns.shop.test. 60 IN A 127.0.0.1",
	)
	return s, &Resolver{Servers: []string{s.Address.String()}, AuthorityPort: s.Address.Port(), Timeout: 10 * time.Second}
}

func provider(s *nameserver.Server, r *Resolver) *RFC2136 {
	return &RFC2136{
		Server: s.Address.String(), Zone: "test", Resolver: r, Now: time.Now,
		TSIG: &TSIG{Name: keyName, Algorithm: HMACSHA256, Secret: secret.New([]byte(key()))},
	}
}

func TestResolverReads(t *testing.T) {
	s, r := start(t)
	s.Add(t,
		"www.shop.test. 60 IN A 192.0.2.1", "www.shop.test. 60 IN AAAA 2001:db8::1",
		"alias.shop.test. 60 IN CNAME www.shop.test.", "bare.shop.test. 60 IN TXT hello",
		`caa.shop.test. 60 IN CAA 0 issue "ca.test"`, `caa.shop.test. 60 IN CAA 128 Unknown "x"`,
	)
	ctx := t.Context()
	want := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}
	for _, name := range []string{"www.shop.test", "alias.shop.test"} {
		if got, err := r.Addresses(ctx, name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := r.Addresses(ctx, "bare.shop.test"); err != nil || len(got) != 0 {
		t.Errorf("a name without addresses: %v, %v", got, err)
	}
	if got, err := r.Addresses(ctx, "gone.shop.test"); !errors.Is(err, ErrNoSuchName) {
		t.Errorf("no name: %v, %v", got, err)
	}
	for _, name := range []string{"caa.shop.test", "a.b.caa.shop.test"} {
		got, at, err := r.CAA(ctx, name)
		if err != nil || at != "caa.shop.test" || !slices.Equal(got, []CAA{{false, "issue", "ca.test"}, {true, "unknown", "x"}}) {
			t.Errorf("%s: %v at %s, %v", name, got, at, err)
		}
	}
	if got, _, err := r.CAA(ctx, "www.shop.test"); err != nil || got != nil {
		t.Errorf("without CAA: %v, %v", got, err)
	}
	for _, name := range []string{"shop.test", "www.shop.test", "gone.under.shop.test"} {
		if got, err := r.Zone(ctx, name); err != nil || got != "shop.test" {
			t.Errorf("zone of %s: %q, %v", name, got, err)
		}
	}
	s.Break("ill.shop.test", 2) // SERVFAIL
	if _, err := r.Addresses(ctx, "ill.shop.test"); err == nil || errors.Is(err, ErrNoSuchName) {
		t.Errorf("a server that fails: %v", err)
	}
}

// A server that does not answer costs a moment; the next one is asked.
func TestResolverAsksTheNext(t *testing.T) {
	_, r := start(t)
	r.Servers = append([]string{"127.0.0.1:1"}, r.Servers...)
	if _, err := r.Addresses(t.Context(), "ns.shop.test"); err != nil {
		t.Error(err)
	}
	if _, err := (&Resolver{}).Addresses(t.Context(), "ns.shop.test"); err == nil {
		t.Error("nobody was asked, and there is an answer")
	}
}

// Long answers come over TCP.
func TestResolverReadsLongAnswers(t *testing.T) {
	s, r := start(t)
	for i := range 40 {
		s.Add(t, fmt.Sprintf("long.shop.test. 60 IN TXT %q", fmt.Sprint(i, strings.Repeat("x", 100))))
	}
	if got, err := r.TXT(t.Context(), "long.shop.test"); err != nil || len(got) != 40 {
		t.Errorf("%d texts, %v", len(got), err)
	}
}

func TestUpdatesAreIdempotentAndLeaveOthers(t *testing.T) {
	for _, algorithm := range []Algorithm{"", HMACSHA256, HMACSHA512} {
		t.Run(string(algorithm), func(t *testing.T) {
			s, r := start(t)
			p := provider(s, r)
			p.TSIG.Algorithm = algorithm
			const name = "_acme-challenge.shop.test"
			s.Add(t, name+". 60 IN TXT theirs")
			for _, step := range []struct {
				do    func(context.Context, string, string) error
				value string
				want  []string
			}{
				{p.Present, "one", []string{"one", "theirs"}},
				{p.Present, "two", []string{"one", "theirs", "two"}},
				{p.Present, "one", []string{"one", "theirs", "two"}},
				{p.Remove, "one", []string{"theirs", "two"}},
				{p.Remove, "one", []string{"theirs", "two"}},
				{p.Remove, "never", []string{"theirs", "two"}},
				{p.Remove, "two", []string{"theirs"}},
			} {
				if err := step.do(t.Context(), name, step.value); err != nil {
					t.Fatal(err)
				}
				if got := s.TXT(name); !equalSorted(got, step.want) {
					t.Fatalf("after %q: %v, want %v", step.value, got, step.want)
				}
			}
			if s.Updates() != 7 {
				t.Errorf("%d updates", s.Updates())
			}
		})
	}
}

func equalSorted(a, b []string) bool {
	a = slices.Sorted(slices.Values(a))
	return slices.Equal(a, b)
}

// Errors say what is wrong, and nothing of the key.
func TestUpdatesThatAreRefused(t *testing.T) {
	other := base64.StdEncoding.EncodeToString([]byte("another secret of the same length"))
	for what, c := range map[string]struct {
		change func(*RFC2136)
		want   string
	}{
		"no key":            {func(p *RFC2136) { p.TSIG = nil }, "NOTAUTH"},
		"another secret":    {func(p *RFC2136) { p.TSIG.Secret = secret.New([]byte(other)) }, ""},
		"another key":       {func(p *RFC2136) { p.TSIG.Name = "other.key" }, ""},
		"no secret":         {func(p *RFC2136) { p.TSIG.Secret = secret.Bytes{} }, "the TSIG secret is empty"},
		"a broken secret":   {func(p *RFC2136) { p.TSIG.Secret = secret.New([]byte("%%%")) }, ""},
		"an old algorithm":  {func(p *RFC2136) { p.TSIG.Algorithm = "hmac-md5" }, `TSIG algorithm "hmac-md5"`},
		"an old clock":      {func(p *RFC2136) { p.Now = func() time.Time { return time.Unix(1, 0) } }, ""},
		"another zone":      {func(p *RFC2136) { p.Zone = "other.test" }, "is not in zone other.test"},
		"a zone it has not": {func(p *RFC2136) { p.Zone = "shop.test" }, "NOTAUTH"},
		"nobody there":      {func(p *RFC2136) { p.Server = "127.0.0.1:1" }, "connection refused"},
	} {
		t.Run(what, func(t *testing.T) {
			s, r := start(t)
			p := provider(s, r)
			c.change(p)
			err := p.Present(t.Context(), "_acme-challenge.shop.test", "value")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			for _, key := range []string{key(), other} {
				if strings.Contains(err.Error(), key) {
					t.Errorf("the error tells the key: %v", err)
				}
			}
			if got := s.TXT("_acme-challenge.shop.test"); len(got) > 0 {
				t.Errorf("it was written: %v", got)
			}
		})
	}
}

// A challenge of a name and one of its wildcard have the same record's name.
// Records are made where aliases lead, and seen when every server tells them.
func TestSolver(t *testing.T) {
	s, r := start(t)
	second := nameserver.Start(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), s.Address.Port()).String(), "test", nil)
	s.Add(t,
		"_acme-challenge.pay.test. 60 IN CNAME hop.test.", "hop.test. 60 IN CNAME pay.shop.test.",
		"shop.test. 60 IN NS ns2.shop.test.", "ns2.shop.test. 60 IN A 127.0.0.2",
	)
	solver := &Solver{Provider: provider(s, r), Resolver: r}
	ctx := t.Context()
	one := challenge.Challenge{Type: challenge.DNS01, Name: "pay.test", Token: "a", KeyAuthorization: "a.thumb"}
	two := one
	two.Token, two.KeyAuthorization = "b", "b.thumb"
	for _, c := range []challenge.Challenge{one, two, one} {
		if err := solver.Present(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	_, value := one.Record()
	_, another := two.Record()
	if got := s.TXT("pay.shop.test"); len(got) != 2 || !slices.Contains(got, value) || !slices.Contains(got, another) {
		t.Fatalf("%v, want %q and %q", got, value, another)
	}
	if ok, why, err := solver.Presented(ctx, one); ok || err != nil || !strings.Contains(why, "ns2.shop.test (127.0.0.2) of zone shop.test does not tell") {
		t.Errorf("while one server has not got it: %t, %q, %v", ok, why, err)
	}
	second.Add(t, fmt.Sprintf("pay.shop.test. 60 IN TXT %q", value))
	if ok, why, err := solver.Presented(ctx, one); !ok || err != nil {
		t.Errorf("when all servers have it: %q, %v", why, err)
	}
	for _, c := range []challenge.Challenge{one, one, two} {
		if err := solver.Remove(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.TXT("pay.shop.test"); len(got) != 0 {
		t.Errorf("left are %v", got)
	}
	loop := challenge.Challenge{Type: challenge.DNS01, Name: "loop.test", Token: "a", KeyAuthorization: "a.thumb"}
	s.Add(t, "_acme-challenge.loop.test. 60 IN CNAME _acme-challenge.loop.test.")
	if err := solver.Present(ctx, loop); err == nil {
		t.Error("an alias of itself is followed for ever")
	}
	http := one
	http.Type = challenge.HTTP01
	if err := solver.Present(ctx, http); err == nil {
		t.Error("another type is presented")
	}
}

// Where no server of the zone can be reached from here, our resolver's word
// counts.
func TestSolverWithoutAWayToTheServers(t *testing.T) {
	s, r := start(t)
	r.AuthorityPort = 1
	solver := &Solver{Provider: provider(s, r), Resolver: r}
	c := challenge.Challenge{Type: challenge.DNS01, Name: "shop.test", Token: "a", KeyAuthorization: "a.thumb"}
	if ok, why, err := solver.Presented(t.Context(), c); ok || err != nil || why == "" {
		t.Errorf("before: %t, %q, %v", ok, why, err)
	}
	if err := solver.Present(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if ok, why, err := solver.Presented(t.Context(), c); !ok || err != nil {
		t.Errorf("after: %q, %v", why, err)
	}
}

// Without a zone it is found.
func TestUpdateFindsTheZone(t *testing.T) {
	s := nameserver.Start(t, "127.0.0.1:0", "shop.test", map[string]string{keyName: key()})
	s.Add(t, "@ 60 IN SOA ns root 1 60 60 60 60")
	r := &Resolver{Servers: []string{s.Address.String()}, Timeout: 10 * time.Second}
	p := provider(s, r)
	p.Zone = ""
	if err := p.Present(t.Context(), "_acme-challenge.a.b.shop.test", "value"); err != nil {
		t.Fatal(err)
	}
	if got := s.TXT("_acme-challenge.a.b.shop.test"); len(got) != 1 {
		t.Error(got)
	}
}
