package acme

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/tls/certificate"
)

// Situation is the input of Judge.
type Situation struct {
	Want Want
	// Chain and Key are those of the stored certificate, in PEM; empty if there is
	// none.
	Chain, Key []byte
	// Directory is that of the authority that issued it; empty if unknown.
	Directory string
	// Info is the authority's suggestion.
	Info RenewalInfo
	Now  time.Time
}

// Reason says in a word why a certificate must be issued.
type Reason string

// The reasons, in the order in which Judge looks for them.
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
	// Text tells people the reason.
	Text string
	// At is when the certificate must be renewed because of its age, if there is no
	// reason now.
	At time.Time
}

// Issue reports whether a certificate must be issued.
func (v Verdict) Issue() bool { return v.Reason != "" }

// Judge says whether a certificate must be issued: the first of the reasons that
// holds, in their order.
func Judge(s Situation) Verdict {
	h := &parsedSituation{Situation: s}
	for _, check := range checks() {
		if text := check.fault(h); text != "" {
			return Verdict{Reason: check.reason, Text: text}
		}
	}
	at, why := h.renewalTime()
	return Verdict{Text: why, At: at}
}

// check says why a certificate must be issued; empty if it finds no reason. It may
// rely on all checks before it having found none.
type check struct {
	reason Reason
	fault  func(*parsedSituation) string
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

// parsedSituation is a situation with the certificate as a check has parsed it.
type parsedSituation struct {
	Situation
	certificate *certificate.Certificate
}

func absent(h *parsedSituation) string {
	if len(h.Chain) == 0 && len(h.Key) == 0 {
		return "there is no certificate yet"
	}
	return ""
}

// keyMismatch is a reason of its own, beside other unusable pairs: half a rotation
// by hand leaves such a pair behind.
func keyMismatch(h *parsedSituation) string {
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

func unusable(h *parsedSituation) (fault string) {
	h.certificate, fault = certificate.Parse(h.Chain, h.Key)
	return fault
}

func namesDiffer(h *parsedSituation) string {
	if have := normal(h.certificate.DNSNames); !slices.Equal(have, h.Want.Names) {
		return fmt.Sprintf("the certificate is for %s, and wanted is one for %s",
			h.certificate.Names(), strings.Join(h.Want.Names, ", "))
	}
	return ""
}

func issuerChanged(h *parsedSituation) string {
	if h.Directory != "" && h.Directory != h.Want.Directory {
		return fmt.Sprintf("the certificate is from %s, and wanted is one from %s", h.Directory, h.Want.Directory)
	}
	return ""
}

func keyTypeChanged(h *parsedSituation) string {
	leaf, err := leafOf(h.certificate.Chain)
	if err != nil {
		return ""
	}
	if have := keyTypeOf(leaf.PublicKey); have != h.Want.KeyType {
		return fmt.Sprintf("the key is of type %s, and wanted is %s", have, h.Want.KeyType)
	}
	return ""
}

func expired(h *parsedSituation) string {
	if h.Now.After(h.certificate.NotAfter) {
		return h.certificate.ValidAt(h.Now)
	}
	return ""
}

// recalled finds a revocation: the authority announces it by a window in the past.
func recalled(h *parsedSituation) string {
	if !h.hasRenewalInfo() || h.Now.Before(h.Info.End) {
		return ""
	}
	text := "the issuer asks for another certificate at once: its window ended on " + day(h.Info.End)
	if h.Info.Explanation != "" {
		text += ", see " + h.Info.Explanation
	}
	return text
}

func windowReached(h *parsedSituation) string {
	if at, why := h.renewalTime(); h.hasRenewalInfo() && !h.Now.Before(at) {
		return why
	}
	return ""
}

func lifeSpent(h *parsedSituation) string {
	if at, why := h.renewalTime(); !h.Now.Before(at) {
		return why
	}
	return ""
}

// renewalTime says when to renew, and why then.
func (h *parsedSituation) renewalTime() (at time.Time, why string) {
	if h.hasRenewalInfo() {
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
	// shortLife is the life below which a certificate is renewed half way.
	shortLife = 10 * 24 * time.Hour
	// jitterPart is the part of a life over which renewals of one day are spread.
	jitterPart = 30
	// lastPart is the last part of a life, in which it is too late to renew, even if
	// the authority suggests it.
	lastPart = 50
)

// hasRenewalInfo reports whether there is a suggestion of the authority's for this very
// certificate, which leaves time to renew.
func (h *parsedSituation) hasRenewalInfo() bool {
	id, err := CertificateID(h.certificate.Chain)
	if err != nil || !h.Info.Known() || h.Info.ID != id {
		return false
	}
	c := h.certificate
	return h.Info.Point().Before(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / lastPart))
}

func day(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 MST") }
