package envoy_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/authority"
)

// signer is an authority of a test, which fails if something cannot be signed.
type signer struct {
	*authority.Authority

	t   testing.TB
	pem []byte
}

func newSigner(t testing.TB, name string) *signer {
	t.Helper()
	a, err := authority.New(name, 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{a, t, a.PEM()}
}

// issue makes a certificate for a host.
func (s *signer) issue(name string) *tls.Certificate {
	s.t.Helper()
	return s.pair(x509.Certificate{DNSNames: []string{name}})
}

// client is a certificate of a client, for a lifetime that may have passed.
func (s *signer) client(name string, lifetime time.Duration) *tls.Certificate {
	s.t.Helper()
	return s.pair(x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(lifetime),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, DNSNames: []string{name + ".clients.test"},
	})
}

// pair is a certificate as the template says, and its new key.
func (s *signer) pair(template x509.Certificate) *tls.Certificate {
	s.t.Helper()
	key, err := authority.NewKey()
	if err != nil {
		s.t.Fatal(err)
	}
	chain, err := s.Sign(template, key.Public())
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := authority.EncodeKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		s.t.Fatal(err)
	}
	return &pair
}
