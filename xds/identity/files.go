package identity

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fairwaynet/fairway/api/pemfile"
)

// Files are a process's certificate and key, and the authorities by which it verifies
// others, in PEM. The zero value holds nothing.
type Files struct {
	CA          []byte // all trusted authorities, the newest first
	Certificate []byte
	Key         Secret
}

// Secret is bytes that logs and errors do not show.
type Secret []byte

// Format implements fmt.Formatter.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(secret)") }

// MarshalText keeps it out of JSON too.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// absent reports whether there is nothing at all.
func (f Files) absent() bool {
	return len(f.CA) == 0 && len(f.Certificate) == 0 && len(f.Key) == 0
}

// Equal reports whether f and other hold the same bytes.
func (f Files) Equal(other Files) bool {
	return bytes.Equal(f.CA, other.CA) && bytes.Equal(f.Certificate, other.Certificate) && bytes.Equal(f.Key, other.Key)
}

// Pair is the files as package tls uses them: the certificate with its key, and all
// authorities.
func (f Files) Pair() (pair tls.Certificate, roots *x509.CertPool, err error) {
	if pair, err = f.pair(); err != nil {
		return pair, nil, fmt.Errorf("read certificate and key: %w", err)
	}
	authorities, err := certificates(f.CA)
	if err != nil {
		return pair, nil, fmt.Errorf("read authorities: %w", err)
	}
	roots = x509.NewCertPool()
	for _, ca := range authorities {
		roots.AddCert(ca)
	}
	return pair, roots, nil
}

// pair reads the certificate and its key. A part that cannot be read is an error.
func (f Files) pair() (tls.Certificate, error) {
	chain, fault := pemfile.Read(f.Certificate)
	if fault != "" {
		return tls.Certificate{}, fmt.Errorf("the certificate cannot be read: %s", fault)
	}
	key, fault := pemfile.Read(f.Key)
	if fault != "" {
		return tls.Certificate{}, fmt.Errorf("the key cannot be read: %s", fault)
	}
	return tls.X509KeyPair(pemfile.Encode(chain), pemfile.Encode(key)) // which checks that they belong together
}

// signed is a certificate and its key, parsed.
type signed struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func (f Files) parse() (signed, error) {
	pair, err := f.pair()
	if err != nil {
		return signed{}, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return signed{}, errors.New("the key cannot sign")
	}
	return signed{pair.Leaf, key}, nil
}

// certificates are those of a bundle. A bundle of which a part cannot be read is an
// error: without that part a process would refuse peers that the others accept.
func certificates(bundle []byte) ([]*x509.Certificate, error) {
	blocks, fault := pemfile.Read(bundle)
	if fault != "" {
		return nil, errors.New(fault)
	}
	all := make([]*x509.Certificate, len(blocks))
	for i, block := range blocks {
		if block.Type != certificateBlock {
			return nil, fmt.Errorf("block %d (line %d) is a %s, not a certificate", i+1, block.Line, pemfile.Name(block.Type))
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("block %d (line %d): %w", i+1, block.Line, err)
		}
		all[i] = certificate
	}
	return all, nil
}

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
)

// bundle is the certificates as PEM, the newest first, each once.
func bundle(all []*x509.Certificate) []byte {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b *x509.Certificate) int {
		return cmp.Or(b.NotBefore.Compare(a.NotBefore), bytes.Compare(a.Raw, b.Raw))
	})
	sorted = slices.CompactFunc(sorted, (*x509.Certificate).Equal)
	var text bytes.Buffer
	for _, c := range sorted {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.Raw}))
	}
	return text.Bytes()
}

// files are s, with the authorities that it shall trust.
func (s signed) files(trusted []byte) (Files, error) {
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return Files{}, fmt.Errorf("encode key: %w", err)
	}
	return Files{
		CA:          trusted,
		Certificate: pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: s.certificate.Raw}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}),
	}, nil
}

// ServerConfig is the TLS configuration of controllers: TLS 1.3, and only clients with
// a certificate of a trusted authority.
func ServerConfig(f Files) (*tls.Config, error) {
	pair, clients, err := f.Pair()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
		NextProtos:   []string{"h2"},
		// A ticket would let a client in whose certificate has expired.
		SessionTicketsDisabled: true,
	}, nil
}

// Expired reports whether the certificate can be used no more: it has expired, or
// cannot be read.
func Expired(f Files, now time.Time) bool {
	s, err := f.parse()
	return err != nil || now.After(s.certificate.NotAfter)
}
