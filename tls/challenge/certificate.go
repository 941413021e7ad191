package challenge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

// ProtocolTLSALPN is the application protocol of TLS-ALPN-01.
const ProtocolTLSALPN = "acme-tls/1"

// idPeACMEIdentifier is the extension that holds the answer (RFC 8737, section 3).
func idPeACMEIdentifier() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
}

// lifetime is that of a certificate of TLS-ALPN-01, in both directions from now. No
// authority looks at it, but a middlebox may.
const lifetime = 24 * time.Hour

// certificate is the answer of TLS-ALPN-01: a self-signed certificate for the name
// alone, with the hash of the key authorization. Its key is used for nothing else.
func (c Challenge) certificate(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for %s: %w", c, err)
	}
	sum := sha256.Sum256([]byte(c.KeyAuthorization))
	value, err := asn1.Marshal(sum[:])
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", c, err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "ACME challenge"},
		DNSNames:     []string{c.Name},
		NotBefore:    now.Add(-lifetime),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		ExtraExtensions: []pkix.Extension{{
			Id: idPeACMEIdentifier(), Critical: true, Value: value,
		}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", c, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// Answers reports whether a certificate is the answer to c.
func (c Challenge) Answers(certificate *x509.Certificate) bool {
	sum := sha256.Sum256([]byte(c.KeyAuthorization))
	value, err := asn1.Marshal(sum[:])
	if err != nil || len(certificate.DNSNames) != 1 || certificate.DNSNames[0] != c.Name {
		return false
	}
	for _, extension := range certificate.Extensions {
		if extension.Id.Equal(idPeACMEIdentifier()) {
			return string(extension.Value) == string(value)
		}
	}
	return false
}
