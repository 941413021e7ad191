package acme

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/tls/certificate"
)

// Settings name the certificate authority that issues, and describe the
// certificates that it shall issue.
type Settings struct {
	// Directory is the https URL of the authority's directory (RFC 8555, 7.1.1).
	Directory string
	// Email is the address to which the authority writes when something is wrong;
	// may be empty.
	Email string
	// TermsAgreed says that a person has agreed to the authority's terms of service.
	TermsAgreed bool
	// ExternalAccount binds our account to one that exists at the authority
	// (RFC 8555, 7.3.4); nil if the authority does not ask for that.
	ExternalAccount *ExternalAccount
	// Profile is one of those that the directory offers; empty: the authority
	// chooses.
	Profile string
	// CABundle are roots, in PEM, which the authority's own server is checked
	// against in place of the system's.
	CABundle []byte
	// KeyType is that of the certificates' keys; empty: ECDSAP256.
	KeyType KeyType
	// Challenges are the types that may be used, the preferred one first; empty:
	// HTTP01, then TLSALPN01.
	Challenges []ChallengeType
	// Chain is the common name of the topmost issuer in the chain to take, where
	// the authority offers several; empty, or not among them: its first.
	Chain string
}

// ExternalAccount is the credential of a customer for RFC 8555, 7.3.4.
type ExternalAccount struct {
	KeyID string
	// Key is as authorities hand it out: base64url.
	Key secret.Bytes
}

// KeyType is the kind of a certificate's key.
type KeyType string

// The kinds of keys.
const (
	ECDSAP256 KeyType = "ECDSA-P256"
	ECDSAP384 KeyType = "ECDSA-P384"
	RSA2048   KeyType = "RSA-2048"
	RSA3072   KeyType = "RSA-3072"
	RSA4096   KeyType = "RSA-4096"
)

// KeyTypes are all of them, the default first.
func KeyTypes() []KeyType { return []KeyType{ECDSAP256, ECDSAP384, RSA2048, RSA3072, RSA4096} }

// ChallengeType is a way to prove control of a name, as ACME spells it.
type ChallengeType string

// The types that are supported.
const (
	HTTP01    ChallengeType = "http-01"     // RFC 8555, 8.3: port 80
	TLSALPN01 ChallengeType = "tls-alpn-01" // RFC 8737: port 443
	DNS01     ChallengeType = "dns-01"      // RFC 8555, 8.4: a TXT record; the only one for wildcards
)

// ChallengeTypes are all of them.
func ChallengeTypes() []ChallengeType { return []ChallengeType{HTTP01, TLSALPN01, DNS01} }

func (s Settings) keyType() KeyType {
	if s.KeyType == "" {
		return ECDSAP256
	}
	return s.KeyType
}

func (s Settings) challenges() []ChallengeType {
	if len(s.Challenges) == 0 {
		return []ChallengeType{HTTP01, TLSALPN01}
	}
	return s.Challenges
}

// Want is the certificate that the settings ask for, for these names, which may be
// in any order and spelling.
func (s Settings) Want(names ...string) Want {
	return Want{Names: normal(names), Directory: s.Directory, Profile: s.Profile, KeyType: s.keyType()}
}

// Fault tells people why the settings cannot be used; empty if they can, as far as
// that can be seen without asking the authority. It tells nothing of secrets.
func (s Settings) Fault() string {
	at, err := url.Parse(s.Directory)
	switch {
	case err != nil, at.Scheme != "https", at.Host == "":
		return fmt.Sprintf("the directory %q is not an https URL", s.Directory)
	case s.Email != "" && !strings.Contains(s.Email, "@"):
		return fmt.Sprintf("the e-mail address %q is none", s.Email)
	case !slices.Contains(KeyTypes(), s.keyType()):
		return fmt.Sprintf("the key type %q is unknown; use one of %v", s.KeyType, KeyTypes())
	}
	if len(s.CABundle) > 0 {
		if _, fault := certificate.ParseAuthorities(s.CABundle); fault != "" {
			return "the CA bundle cannot be used: " + fault
		}
	}
	for _, c := range s.Challenges {
		if !slices.Contains(ChallengeTypes(), c) {
			return fmt.Sprintf("the challenge type %q is unknown; use one of %v", c, ChallengeTypes())
		}
	}
	if s.ExternalAccount != nil {
		return s.ExternalAccount.fault()
	}
	return ""
}

func (e *ExternalAccount) fault() string {
	_, err := e.mac()
	switch {
	case e.KeyID == "":
		return "the external account has no key ID"
	case len(e.Key.Reveal()) == 0:
		return "the external account has no key"
	case err != nil:
		return "the key of the external account is not base64url"
	}
	return ""
}

// mac is the key's bytes. Authorities write it with and without padding, and a
// file ends with a newline.
func (e *ExternalAccount) mac() ([]byte, error) {
	text := strings.TrimRight(strings.TrimSpace(string(e.Key.Reveal())), "=")
	text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	return base64.RawURLEncoding.DecodeString(text)
}
