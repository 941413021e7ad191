// Package challenge answers a certificate authority that validates a name (RFC 8555,
// section 8). It has the answer as a plain value, which Secrets carry, and the
// responder of TLS-ALPN-01. Packages below it keep DNS records (dns) and find reasons
// for which an authority would refuse a name (obstacle).
//
// It knows neither orders (tls/acme) nor Kubernetes nor Envoy. Its invariant: only
// names of known challenges are answered.
package challenge

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Type is the way in which an authority validates a name.
type Type string

// The types that can be answered.
const (
	HTTP01    Type = "http-01"     // RFC 8555, section 8.3: a path over HTTP
	TLSALPN01 Type = "tls-alpn-01" // RFC 8737: a certificate in a handshake
	DNS01     Type = "dns-01"      // RFC 8555, section 8.4: a TXT record
)

// Challenge is one answer to one authority. It is comparable. Nothing in it is
// secret: anybody may ask for it.
type Challenge struct {
	// Gateway is the gateway whose Envoys the authority asks, as in route.Key. A name
	// that several gateways serve has a Challenge for each. DNS-01 needs none.
	Gateway string `json:"gateway,omitempty"`
	Type    Type   `json:"type"`
	// Name is the DNS name that is validated: in lower case, ASCII, without the "*."
	// of a wildcard.
	Name  string `json:"name"`
	Token string `json:"token"`
	// KeyAuthorization is Token, a dot, and the thumbprint of the account's key.
	KeyAuthorization string `json:"keyAuthorization"`
}

// PathPrefix begins the path of every HTTP-01 challenge.
const PathPrefix = "/.well-known/acme-challenge/"

// Path is the path that an authority asks for over HTTP. KeyAuthorization is the
// answer.
func (c Challenge) Path() string { return PathPrefix + c.Token }

// Record is the DNS name of the TXT record of DNS-01, without a trailing dot,
// and its value.
func (c Challenge) Record() (name, value string) {
	sum := sha256.Sum256([]byte(c.KeyAuthorization))
	return "_acme-challenge." + c.Name, base64.RawURLEncoding.EncodeToString(sum[:])
}

// Digest stands for the challenge where there is little room: 16 hexadecimal
// characters. Equal challenges have equal digests.
func (c Challenge) Digest() string {
	sum := sha256.New()
	for _, part := range []string{c.Gateway, string(c.Type), c.Name, c.Token, c.KeyAuthorization} {
		_, _ = fmt.Fprintf(sum, "%d:%s", len(part), part) // never fails
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

// String is "http-01 of shop.test at default".
func (c Challenge) String() string {
	text := fmt.Sprintf("%s of %s", c.Type, c.Name)
	if c.Gateway != "" {
		text += " at " + c.Gateway
	}
	return text
}

// maxText bounds a token and a key authorization, in bytes. Authorities send less
// than a hundred.
const maxText = 512

// Validate says what is wrong with a challenge. The token comes from an authority and
// becomes a path of the host, so it must hold nothing that could change the path.
func (c Challenge) Validate() error {
	thumbprint, authorizes := strings.CutPrefix(c.KeyAuthorization, c.Token+".")
	switch {
	case c.Type != HTTP01 && c.Type != TLSALPN01 && c.Type != DNS01:
		return fmt.Errorf("challenge of unknown type %.40q", c.Type)
	case len(validation.IsDNS1123Subdomain(c.Name)) > 0:
		return fmt.Errorf("challenge of %.300q, which is no DNS name", c.Name)
	case c.Gateway == "" && c.Type != DNS01:
		return fmt.Errorf("challenge of %s without a gateway", c.Name)
	case !isBase64URL(c.Token) || len(c.Token) > maxText:
		return fmt.Errorf("challenge of %s whose token is not base64url", c.Name)
	case !authorizes || !isBase64URL(thumbprint) || len(thumbprint) > maxText:
		return fmt.Errorf("challenge of %s whose key authorization does not follow from its token", c.Name)
	}
	return nil
}

// isBase64URL reports whether text is of the alphabet of tokens, without
// padding, and not empty (RFC 8555, section 8.1).
func isBase64URL(text string) bool {
	other := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}
	return text != "" && !strings.ContainsFunc(text, other)
}

// MaxChallenges bounds the challenges of one order. A certificate of Let's
// Encrypt has at most 100 names.
const MaxChallenges = 400

var errTooMany = fmt.Errorf("more than %d challenges", MaxChallenges) // a constant
