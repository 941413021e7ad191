package challenge_test

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
)

// A host that demands certificates of clients answers authorities, which have
// none, and nobody else; so does a name below a guarded wildcard, which for so
// long is a host of its own.
func testGuarded(s *stage) {
	authority := fairway.NewAuthority(s)
	alice := authority.Client(s, "alice")
	s.fairway.Create(s, authority.CASecret("staff-ca"))
	for name, host := range map[string]string{"guarded": "guarded.test", "guarded-wild": "*.guarded.test"} {
		i := fairway.Ingress(name, class, host, "/", "web")
		i.Annotations = map[string]string{route.AnnotationClientCA: "staff-ca"}
		s.ingress(i)
	}
	http01 := []tlschallenge.Challenge{of("guarded.test", "token"), of("a.guarded.test", "token")}
	alpn := of("guarded.test", "other")
	alpn.Type = tlschallenge.TLSALPN01
	guarded := func() {
		s.Helper()
		for _, c := range http01 {
			fairway.Eventually(s, patience, fairway.Everywhere(fairway.Status(c.Name, "/", http.StatusPermanentRedirect)))
			fairway.Eventually(s, patience, fairway.Everywhere(func(ctx context.Context) error {
				_, err := fairway.GetAs(ctx, alice, c.Name, c.Name, "/")
				return err
			}))
			if a, err := fairway.GetAs(s.Context(), nil, c.Name, c.Name, "/"); err == nil {
				s.Errorf("%s answers %d to a client without a certificate", c.Name, a.Status)
			}
			if a, err := fairway.GetAs(s.Context(), alice, c.Name, c.Name, "/"); err != nil || a.Header.Get("Backend") != "web" {
				s.Errorf("%s answers %d to a client with a certificate, %v", c.Name, a.Status, err)
			}
		}
	}
	guarded()
	secret := s.order("guarded", append(http01, alpn)...)
	for _, c := range http01 {
		fairway.Eventually(s, patience, s.presented(c))
		s.answered(c)
	}
	fairway.Eventually(s, patience, s.presented(alpn))
	if err := answeredTLS(alpn)(s.Context()); err != nil {
		s.Error(err)
	}
	guarded()
	s.over(secret)
	fairway.Eventually(s, patience, s.absent(http01[1]))
	guarded()
}

// A host whose connections are passed on answers TLS-ALPN-01 itself: it has
// certificates of its own.
func testPassthrough(s *stage) {
	theirs := of("raw.test", "theirs")
	theirs.Type = tlschallenge.TLSALPN01
	backend := &tlschallenge.Responder{Now: time.Now}
	backend.Set([]tlschallenge.Challenge{theirs})
	ip := s.fairway.Address()
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(fairway.BackendPort)))
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- backend.Serve(ctx, listener) }()
	s.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
	s.fairway.Create(s, fairway.Service("raw"), fairway.Slice("raw", ip))
	raw := fairway.Ingress("raw", class, "raw.test", "/", "raw")
	raw.Annotations = map[string]string{route.AnnotationTLSPassthrough: "true"}
	s.ingress(raw)
	fairway.Eventually(s, patience, answeredTLS(theirs))
	ours := of("beside.test", "ours")
	ours.Type = tlschallenge.TLSALPN01
	s.order("beside", ours)
	fairway.Eventually(s, patience, s.presented(ours))
	if err := answeredTLS(ours)(s.Context()); err != nil {
		s.Error("another name:", err)
	}
}
