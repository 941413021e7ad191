package challenge_test

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/fairwaynet/fairway/test/fairway"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
)

// answeredTLS asks for a challenge of TLS-ALPN-01 as an authority does.
func answeredTLS(c tlschallenge.Challenge) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := fairway.Handshake(ctx, c.Name, &tls.Config{NextProtos: []string{tlschallenge.ProtocolTLSALPN}})
		if err != nil {
			return err
		}
		defer conn.Close()
		state := conn.ConnectionState()
		if state.NegotiatedProtocol != tlschallenge.ProtocolTLSALPN || !c.Answers(state.PeerCertificates[0]) {
			return fmt.Errorf("%s is answered over %q with a certificate of %v", c, state.NegotiatedProtocol, state.PeerCertificates[0].DNSNames)
		}
		return nil
	}
}

// Connections that ask for acme-tls/1 get to any replica's responder, which
// knows every order; all others get to the site, as before. The name need not be
// one that anybody serves.
func testALPN(s *stage) {
	s.ingress(fairway.Ingress("alpn", class, "alpn.test", "/", "web"), "alpn.test")
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.PresentsDefault("alpn.test")))
	c, unserved := of("alpn.test", "token"), of("unserved.test", "token")
	c.Type, unserved.Type = tlschallenge.TLSALPN01, tlschallenge.TLSALPN01
	if err := answeredTLS(c)(s.Context()); err == nil {
		s.Error("a challenge is answered before there is one")
	}
	secret := s.order("alpn", c, unserved)
	for _, c := range []tlschallenge.Challenge{c, unserved} {
		fairway.Eventually(s, patience, s.presented(c))
		for range 16 {
			if err := answeredTLS(c)(s.Context()); err != nil {
				s.Error(err)
			}
		}
	}
	if err := fairway.PresentsDefault("alpn.test")(s.Context()); err != nil {
		s.Error("a browser:", err)
	}
	a, err := fairway.GetTLS(s.Context(), "alpn.test", "/")
	if err != nil || a.Header.Get("Backend") != "web" {
		s.Errorf("a browser gets %d, %v", a.Status, err)
	}
	s.over(secret)
	for range 16 {
		fairway.Eventually(s, patience, func(ctx context.Context) error {
			if answeredTLS(c)(ctx) == nil {
				return fmt.Errorf("%s is answered still", c)
			}
			return nil
		})
	}
}
