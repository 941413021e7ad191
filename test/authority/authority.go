// Package authority makes certificate authorities for tests. Their keys are ECDSA
// keys that are never stored.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey

	lifetime time.Duration
}

// Identity is a certificate with its key, both in PEM.
type Identity struct{ Certificate, Key []byte }

// New makes an authority. It is valid for the lifetime, and so are the
// certificates that it signs.
func New(name string, lifetime time.Duration) (*Authority, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	a := &Authority{Key: key, lifetime: lifetime}
	template := a.complete(x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	if a.Certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	return a, nil
}

// PEM is the certificate that clients and servers trust.
func (a *Authority) PEM() []byte { return encodeCertificate(a.Certificate.Raw) }

// Issue makes a certificate for a client with that name and those groups. It is
// also valid for a server with the given names and addresses.
func (a *Authority) Issue(subject pkix.Name, names []string, addresses ...netip.Addr) (Identity, error) {
	key, err := NewKey()
	if err != nil {
		return Identity{}, err
	}
	template := x509.Certificate{
		Subject: subject, DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(address.AsSlice()))
	}
	certificate, err := a.Sign(template, key.Public())
	if err != nil {
		return Identity{}, err
	}
	encoded, err := EncodeKey(key)
	return Identity{Certificate: certificate, Key: encoded}, err
}

// Sign makes a certificate, in PEM, from the template. By default the serial
// number is random, and the times are those of the authority.
func (a *Authority) Sign(template x509.Certificate, key crypto.PublicKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, a.complete(template), a.Certificate, key, a.Key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", template.Subject, err)
	}
	return encodeCertificate(der), nil
}

// complete makes a certificate begin an hour ago, because other machines' clocks
// may be late.
func (a *Authority) complete(template x509.Certificate) *x509.Certificate {
	if template.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
		if err != nil {
			panic(err) // crypto/rand never fails
		}
		template.SerialNumber = serial
	}
	now := time.Now()
	if template.NotBefore.IsZero() {
		template.NotBefore = now.Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = now.Add(a.lifetime)
	}
	return &template
}

// NewKey makes a key.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

// EncodeKey encodes a key in PEM, in the older form. kube-apiserver reads the
// public half of a token key only from that form.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
