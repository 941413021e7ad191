package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// ClientAuthorities are authorities that sign the certificates of clients.
type ClientAuthorities struct {
	// PEM is their certificates, each once, and nothing else.
	PEM []byte
	// NotAfter is when the last of them expires.
	NotAfter time.Time
}

// ParseClientAuthorities reads the certificates of authorities from PEM. A fault tells
// people why they cannot be used, to be read after "the Secret cannot be used: ". All
// of them must be readable: leaving one out would silently refuse its clients.
func ParseClientAuthorities(text []byte) (a *ClientAuthorities, fault string) {
	if len(text) > MaxSize {
		return nil, fmt.Sprintf("it is larger than %d bytes", MaxSize)
	}
	all, fault := authorities(text)
	if fault != "" {
		return nil, fault
	}
	a = &ClientAuthorities{}
	var seen [][]byte
	for i, c := range all {
		if !signs(c) {
			return nil, fmt.Sprintf("certificate %d (%s) is not that of an authority: it may not sign others", i+1, subject(c))
		}
		if containsBytes(seen, c.Raw) {
			continue
		}
		seen = append(seen, c.Raw)
		a.PEM = append(a.PEM, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: c.Raw})...)
		if c.NotAfter.After(a.NotAfter) {
			a.NotAfter = c.NotAfter
		}
	}
	return a, ""
}

// ExpiredAt tells people why no client can be accepted at that time; empty if some
// client can.
func (a *ClientAuthorities) ExpiredAt(now time.Time) (fault string) {
	if now.After(a.NotAfter) {
		return fmt.Sprintf("the last of its certificates expired on %s", a.NotAfter.UTC().Format(time.RFC3339))
	}
	return ""
}

// signs reports whether the certificate may sign others.
func signs(c *x509.Certificate) bool {
	return c.BasicConstraintsValid && c.IsCA && (c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0)
}

// subject names a certificate for people.
func subject(c *x509.Certificate) string {
	const most = 100
	name := fmt.Sprintf("%q", c.Subject.String())
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}

func containsBytes(all [][]byte, one []byte) bool {
	for _, b := range all {
		if bytes.Equal(b, one) {
			return true
		}
	}
	return false
}
