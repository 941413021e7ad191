package identity

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// asked is a certificate that is checked, and the input of the checks.
type asked struct {
	files  Files
	signed signed
	broken error // the reason why signed is empty
	want   Subject
	by     Authorities
	now    time.Time
	spread time.Duration
}

// check is one reason to renew a certificate.
type check struct {
	reason string
	found  func(asked) bool
}

// renewals are the reasons to make a certificate anew, in the order in which a person
// would ask.
var renewals = []check{
	{"it is missing", func(a asked) bool { return a.files.absent() }},
	{"it cannot be read", func(a asked) bool { return a.broken != nil }},
	{"it is for somebody else", func(a asked) bool { return !a.want.is(a.signed.certificate) }},
	{"nobody who is trusted has signed it", func(a asked) bool { return a.signer() == nil }},
	{"it has expired", func(a asked) bool { return a.now.After(a.signed.certificate.NotAfter) }},
	{"two thirds of its life are over", func(a asked) bool { return !a.now.Before(due(a.signed.certificate)) }},
	{"its authority has been replaced", func(a asked) bool {
		// Not before every process trusts the new one.
		newest := a.by.signer.certificate
		return !a.signer().Equal(newest) && !a.now.Before(made(newest).Add(a.spread))
	}},
}

// signer is the trusted authority that has signed the certificate.
func (a asked) signer() *x509.Certificate {
	for _, authority := range a.by.trusted {
		if a.signed.certificate.CheckSignatureFrom(authority) == nil {
			return authority
		}
	}
	return nil
}

// is reports whether a certificate is for s and for no other subject.
func (s Subject) is(c *x509.Certificate) bool {
	var uris []string
	for _, uri := range c.URIs {
		uris = append(uris, uri.String())
	}
	var want []string
	if s.uri != "" {
		want = []string{s.uri}
	}
	return slices.Equal(c.DNSNames, s.dns) && slices.Equal(uris, want) && slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{s.usage()})
}

// Renew returns the files that a subject should have, and the reason why they differ
// from the present ones; an empty reason: they do not.
func (p Policy) Renew(have Files, want Subject, by Authorities, now time.Time) (next Files, reason string, err error) {
	a := asked{files: have, want: want, by: by, now: now, spread: p.withDefaults().Spread}
	a.signed, a.broken = have.parse()
	for _, check := range renewals {
		if check.found(a) {
			next, err = p.Issue(want, by, now)
			return next, check.reason, err
		}
	}
	if !bytes.Equal(have.CA, by.bundle) {
		have.CA = by.bundle
		return have, "the trusted authorities have changed", nil
	}
	return have, "", nil
}

// known is the input of the decision about the authorities.
type known struct {
	files   Files
	signed  signed
	broken  error // the reason why signed is empty
	others  []*x509.Certificate
	invalid error // the reason why others are empty
	now     time.Time
}

// successions are the reasons to make a new authority.
var successions = []struct {
	reason string
	found  func(known) bool
}{
	{"it is missing", func(k known) bool { return k.files.absent() }},
	{"it cannot be read", func(k known) bool { return k.broken != nil }},
	{"it is no authority", func(k known) bool { return !k.signed.certificate.IsCA }},
	{"two thirds of its life are over", func(k known) bool { return !k.now.Before(due(k.signed.certificate)) }},
}

// Succeed returns the authorities that there should be, and the reason why they differ
// from the present ones; an empty reason: they do not.
//
// controllers and gateways are the certificates that the authorities have signed. If
// the authority itself is lost, only its key is lost: the authorities that the
// controllers' files trust stay trusted.
func (p Policy) Succeed(have, controllers Files, gateways []Files, now time.Time) (next Authorities, reason string, err error) {
	k := known{files: have, now: now}
	k.signed, k.broken = have.parse()
	if k.others, k.invalid = certificates(have.CA); k.invalid != nil {
		k.others, _ = certificates(controllers.CA) // if there is nothing either, we begin anew
	}
	k.others = slices.DeleteFunc(k.others, func(c *x509.Certificate) bool { return !c.IsCA || now.After(c.NotAfter) })
	for _, check := range successions {
		if !check.found(k) {
			continue
		}
		signer, err := p.newAuthority(now)
		if err != nil {
			return Authorities{}, "", fmt.Errorf("make authority: %w", err)
		}
		return authoritiesOf(signer, k.others), check.reason, nil
	}
	if p.settled(k.signed.certificate, append([]Files{controllers}, gateways...), now) {
		k.others = nil
	}
	next = authoritiesOf(k.signed, k.others)
	if !bytes.Equal(next.bundle, have.CA) {
		reason = "the trusted authorities have changed"
	}
	return next, reason, nil
}

// settled reports whether every process has had, for long enough, a certificate that
// signer has signed. Then the authorities before it are not needed any more.
func (p Policy) settled(signer *x509.Certificate, users []Files, now time.Time) bool {
	for _, files := range users {
		user, err := files.parse()
		if err != nil || user.certificate.CheckSignatureFrom(signer) != nil ||
			now.Before(made(user.certificate).Add(p.withDefaults().Spread)) {
			return false
		}
	}
	return true
}
