// Package certificate reads certificate chains and their keys, and tells people why
// one cannot be served.
//
// It knows X.509 and PEM, neither Kubernetes nor Envoy, and has no clock: the
// time is a parameter. Its invariant: Envoy takes every Certificate that Parse
// returns, and its key belongs to it.
package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"
	"unicode"

	"github.com/fairwaynet/fairway/api/secret"
)

// Certificate is a chain and the key of its first certificate.
type Certificate struct {
	// Chain is in PEM, the server's own certificate first, each followed by
	// its issuer, and nothing else.
	Chain []byte
	// Key is in PEM.
	Key secret.Bytes

	// NotBefore and NotAfter bound the time in which clients accept it.
	NotBefore, NotAfter time.Time
	// Serial is the serial number in hexadecimal, as browsers show it.
	Serial string
	// RSA says that its key is an RSA key; else it is ECDSA. Some clients can use
	// only one of them.
	RSA bool
	// DNSNames are the names that it is for, in lower case.
	DNSNames []string
}

// Equal reports whether both are served alike.
func (c *Certificate) Equal(other *Certificate) bool {
	if c == nil || other == nil {
		return c == other
	}
	return string(c.Chain) == string(other.Chain) && c.Key.Equal(other.Key)
}

// Covers reports whether clients accept it for a host: a full name, or a wildcard,
// which stands for exactly one label. Only subject alternative names count, as in
// browsers (RFC 9525): a common name does not.
func (c *Certificate) Covers(host string) bool {
	host = strings.ToLower(host)
	_, parent, hasParent := strings.Cut(host, ".")
	for _, name := range c.DNSNames {
		if name == host || hasParent && name == "*."+parent {
			return true
		}
	}
	return false
}

// Names tells people the names that it is for, at most a few of them. A name in a
// certificate may hold any ASCII character.
func (c *Certificate) Names() string {
	const most, longest = 5, 253
	var names []string
	for _, name := range c.DNSNames[:min(len(c.DNSNames), most)] {
		names = append(names, strings.Map(printable, name[:min(len(name), longest)]))
	}
	switch {
	case len(names) == 0:
		return "no name"
	case len(c.DNSNames) > most:
		return strings.Join(names, ", ") + " …"
	}
	return strings.Join(names, ", ")
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}

// namesOf is the DNS names of a certificate in their one spelling.
func namesOf(leaf *x509.Certificate) []string {
	names := make([]string, len(leaf.DNSNames))
	for i, name := range leaf.DNSNames {
		names[i] = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	return names
}

// chainOf puts certificates into order: the leaf, then each one's issuer. All others
// come last, in the order given.
func chainOf(leaf *x509.Certificate, all []*x509.Certificate) []byte {
	var out []byte
	used := map[*x509.Certificate]bool{}
	add := func(c *x509.Certificate) {
		used[c] = true
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: c.Raw})...)
	}
	for next := leaf; next != nil; {
		add(next)
		next = issuerOf(next, all, used)
	}
	for _, c := range all {
		if !used[c] {
			add(c)
		}
	}
	return out
}

func issuerOf(c *x509.Certificate, all []*x509.Certificate, used map[*x509.Certificate]bool) *x509.Certificate {
	for _, candidate := range all {
		if !used[candidate] && string(candidate.RawSubject) == string(c.RawIssuer) {
			return candidate
		}
	}
	return nil
}
