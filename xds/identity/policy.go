package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/url"
	"time"
)

// Policy is how long certificates and authorities last. The zero value of each field
// is its default.
type Policy struct {
	// Authority is how long an authority is valid: a year.
	Authority time.Duration
	// Certificate is how long a certificate is valid: 30 days.
	Certificate time.Duration
	// Spread is how long it may take until every process has read a new file: an
	// hour, where mounted Secrets need a minute or two; at most a tenth of
	// Certificate.
	Spread time.Duration
}

const (
	day = 24 * time.Hour
	// skew is how far the clocks of two machines may differ.
	skew = 5 * time.Minute
)

func (p Policy) withDefaults() Policy {
	if p.Authority == 0 {
		p.Authority = 365 * day
	}
	if p.Certificate == 0 {
		p.Certificate = 30 * day
	}
	if p.Spread == 0 {
		p.Spread = time.Hour
	}
	p.Spread = min(p.Spread, p.Certificate/10)
	return p
}

// Recheck is how often the certificates should be checked, if nothing happens.
func (p Policy) Recheck() time.Duration { return p.withDefaults().Spread / 4 }

// made is when a certificate of our authorities was made.
func made(c *x509.Certificate) time.Time { return c.NotBefore.Add(skew) }

// due is when a certificate of our authorities is renewed: at two thirds of its life.
func due(c *x509.Certificate) time.Time {
	return made(c).Add(c.NotAfter.Sub(made(c)) * 2 / 3)
}

// Authorities are the authority that signs, and all that are trusted.
type Authorities struct {
	signer  signed
	trusted []*x509.Certificate // the signer is one of them
	bundle  []byte
}

func authoritiesOf(signer signed, trusted []*x509.Certificate) Authorities {
	trusted = append([]*x509.Certificate{signer.certificate}, trusted...)
	return Authorities{signer: signer, trusted: trusted, bundle: bundle(trusted)}
}

// Files are the form in which the authorities are stored.
func (a Authorities) Files() (Files, error) { return a.signer.files(a.bundle) }

// newAuthority makes an authority that trusts itself.
func (p Policy) newAuthority(now time.Time) (signed, error) {
	template := &x509.Certificate{
		// Authorities that follow one another must not have the same name.
		Subject:   pkix.Name{CommonName: "Fairway " + now.UTC().Format(time.RFC3339Nano)},
		NotBefore: now.Add(-skew), NotAfter: now.Add(p.withDefaults().Authority),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, MaxPathLenZero: true, BasicConstraintsValid: true,
	}
	return sign(template, signed{})
}

// Issue makes a certificate for a subject, with a new key.
func (p Policy) Issue(to Subject, by Authorities, now time.Time) (Files, error) {
	end := now.Add(p.withDefaults().Certificate)
	if last := by.signer.certificate.NotAfter; end.After(last) {
		end = last
	}
	template := &x509.Certificate{
		NotBefore: now.Add(-skew), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{to.usage()},
		BasicConstraintsValid: true,
		DNSNames:              to.dns,
	}
	if to.uri != "" {
		uri, err := url.Parse(to.uri)
		if err != nil {
			return Files{}, fmt.Errorf("issue certificate: %w", err)
		}
		template.URIs = []*url.URL{uri}
	}
	made, err := sign(template, by.signer)
	if err != nil {
		return Files{}, err
	}
	return made.files(by.bundle)
}

// sign makes a key and a certificate for it. Without a signer it signs itself.
// Keys and serial numbers come from the system's own randomness, which cannot be
// replaced in Go.
func sign(template *x509.Certificate, by signed) (signed, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signed{}, fmt.Errorf("make key: %w", err)
	}
	if by.key == nil {
		by = signed{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, &key.PublicKey, by.key)
	if err != nil {
		return signed{}, fmt.Errorf("sign certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return signed{}, fmt.Errorf("read the certificate that was made: %w", err)
	}
	return signed{certificate, key}, nil
}
