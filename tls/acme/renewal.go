package acme

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/tls/certificate"
)

// Situation is all that decides whether a certificate must be issued.
type Situation struct {
	Want Want
	// Chain and Key are what is there, in PEM, as it was stored; empty if nothing
	// is.
	Chain, Key []byte
	// Directory is that of the authority that issued it; empty if nobody knows.
	Directory string
	// Info is what the authority suggests.
	Info RenewalInfo
	Now  time.Time
}

// Reason is why a certificate must be issued, in a word.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Absent         Reason = "Absent"
	KeyMismatch    Reason = "KeyMismatch"
	Unusable       Reason = "Unusable"
	NamesDiffer    Reason = "NamesDiffer"
	IssuerChanged  Reason = "IssuerChanged"
	KeyTypeChanged Reason = "KeyTypeChanged"
	Expired        Reason = "Expired"
	Recalled       Reason = "Recalled"
	WindowReached  Reason = "WindowReached"
	LifeSpent      Reason = "LifeSpent"
)

// Verdict says whether a certificate must be issued, and why.
type Verdict struct {
	// Reason is empty if it must not.
	Reason Reason
	// Text says it for people.
	Text string
	// At is, if it must not, when it must because of time alone.
	At time.Time
}

// Issue reports whether a certificate must be issued.
func (v Verdict) Issue() bool { return v.Reason != "" }

// Judge looks at one thing after the other, and says the first that asks for a
// certificate.
func Judge(s Situation) Verdict {
	h := &held{Situation: s}
	for _, check := range checks() {
		if text := check.fault(h); text != "" {
			return Verdict{Reason: check.reason, Text: text}
		}
	}
	at, why := h.renewal()
	return Verdict{Text: why, At: at}
}

// check says why a certificate must be issued; empty if it sees no reason. It
// may rely on those before it having seen none.
type check struct {
	reason Reason
	fault  func(*held) string
}

func checks() []check {
	return []check{
		{Absent, absent},
		{KeyMismatch, keyMismatch},
		{Unusable, unusable},
		{NamesDiffer, namesDiffer},
		{IssuerChanged, issuerChanged},
		{KeyTypeChanged, keyTypeChanged},
		{Expired, expired},
		{Recalled, recalled},
		{WindowReached, windowReached},
		{LifeSpent, lifeSpent},
	}
}

// held is a situation with what the checks have read of it.
type held struct {
	Situation
	certificate *certificate.Certificate
}

func absent(h *held) string {
	if len(h.Chain) == 0 && len(h.Key) == 0 {
		return "there is no certificate yet"
	}
	return ""
}

// keyMismatch is told apart from what else makes a pair unusable: it is what
// half a rotation by hand leaves behind.
func keyMismatch(h *held) string {
	leaf, err := leafOf(h.Chain)
	if err != nil {
		return ""
	}
	key, err := parseKey(secret.New(h.Key))
	if err != nil || sameKey(key.Public(), leaf.PublicKey) || unusable(h) == "" {
		return ""
	}
	return "the key does not belong to the certificate"
}

func unusable(h *held) (fault string) {
	h.certificate, fault = certificate.Parse(h.Chain, h.Key)
	return fault
}

func namesDiffer(h *held) string {
	if have := normal(h.certificate.DNSNames); !slices.Equal(have, h.Want.Names) {
		return fmt.Sprintf("the certificate is for %s, and wanted is one for %s",
			h.certificate.Names(), strings.Join(h.Want.Names, ", "))
	}
	return ""
}

func issuerChanged(h *held) string {
	if h.Directory != "" && h.Directory != h.Want.Directory {
		return fmt.Sprintf("the certificate is from %s, and wanted is one from %s", h.Directory, h.Want.Directory)
	}
	return ""
}

func keyTypeChanged(h *held) string {
	leaf, err := leafOf(h.certificate.Chain)
	if err != nil {
		return ""
	}
	if have := keyTypeOf(leaf.PublicKey); have != h.Want.KeyType {
		return fmt.Sprintf("the key is of type %s, and wanted is %s", have, h.Want.KeyType)
	}
	return ""
}

func expired(h *held) string {
	if h.Now.After(h.certificate.NotAfter) {
		return h.certificate.ValidAt(h.Now)
	}
	return ""
}

// recalled is how an authority tells of a revocation: it sets the window into
// the past.
func recalled(h *held) string {
	if !h.informed() || h.Now.Before(h.Info.End) {
		return ""
	}
	text := "the issuer asks for another certificate at once: its window ended on " + day(h.Info.End)
	if h.Info.Explanation != "" {
		text += ", see " + h.Info.Explanation
	}
	return text
}

func windowReached(h *held) string {
	if at, why := h.renewal(); h.informed() && !h.Now.Before(at) {
		return why
	}
	return ""
}

func lifeSpent(h *held) string {
	if at, why := h.renewal(); !h.Now.Before(at) {
		return why
	}
	return ""
}

// renewal is when to renew, and why then.
func (h *held) renewal() (at time.Time, why string) {
	if h.informed() {
		at = h.Info.Point()
		return at, fmt.Sprintf("renewal is due on %s: the issuer suggests %s to %s",
			day(at), day(h.Info.Start), day(h.Info.End))
	}
	c := h.certificate
	life := c.NotAfter.Sub(c.NotBefore)
	left, part := life/3, "a third"
	if life < shortLife {
		left, part = life/2, "half"
	}
	early := time.Duration(float64(life) / jitterPart * fraction(c.Serial))
	at = c.NotAfter.Add(-left - early)
	return at, fmt.Sprintf("renewal is due on %s: about %s of the certificate's life is left then", day(at), part)
}

const (
	// shortLife is that of certificates that are renewed half way.
	shortLife = 10 * 24 * time.Hour
	// jitterPart of a life is what renewals of one day are spread over.
	jitterPart = 30
	// lastPart of a life is too late to renew in, whatever the authority suggests.
	lastPart = 50
)

// informed: the authority's suggestion is of this certificate, and sane.
func (h *held) informed() bool {
	id, err := CertificateID(h.certificate.Chain)
	if err != nil || !h.Info.Known() || h.Info.ID != id {
		return false
	}
	c := h.certificate
	return h.Info.Point().Before(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / lastPart))
}

func day(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 MST") }
