package servercert

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/xds/route"
)

// meanwhile ends the message of each Problem. It does not depend on what was
// served before: equal objects have equal Problems.
const meanwhile = "; what was good before goes on being served, or else the default certificate"

// content is the part of a Secret that concerns this package.
type content struct {
	certificate *certificate.Certificate // nil: see reason
	reason      problem.Reason
	fault       string // for people: "there is no certificate in it"
	// unread says, for people, why the API server does not give the Secret now.
	// The rest is what was read before, if ever.
	unread string
	// partial says that there is no Secret here, but that it may exist elsewhere.
	partial bool
}

// contentOf reads a Secret; nil: it does not exist.
func contentOf(_ types.NamespacedName, secret *corev1.Secret) content {
	if secret == nil {
		return content{reason: route.ReasonSecretNotFound, fault: "it does not exist"}
	}
	if secret.Type != corev1.SecretTypeTLS && secret.Type != corev1.SecretTypeOpaque && secret.Type != "" {
		return content{reason: route.ReasonSecretInvalid, fault: fmt.Sprintf(
			"it is of type %q; a certificate is in one of type %q", secret.Type, corev1.SecretTypeTLS)}
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(secret.Data[key]) == 0 {
			return content{reason: route.ReasonSecretInvalid, fault: fmt.Sprintf("it has no %s", key)}
		}
	}
	parsed, fault := certificate.Parse(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if fault != "" {
		return content{reason: route.ReasonCertificateInvalid, fault: fault}
	}
	return content{certificate: parsed}
}

// findings are what is to be served under a name, and what is wrong with it.
type findings struct {
	served

	asked    bool                   // an Ingress wants the name over TLS
	pending  bool                   // a Secret is being asked for: nothing is known until it comes
	unread   []types.NamespacedName // Secrets that may exist but that nobody could read
	problems []problem.Problem
	again    time.Duration // when to look again even if nothing changes; 0: never
}

// value returns what is published.
func (f findings) value() *route.Certificate {
	if f.Certificate == nil {
		return nil
	}
	value := &route.Certificate{Chain: f.Chain, Key: f.Key}
	if f.other != nil {
		value.Other = &route.Certificate{Chain: f.other.Chain, Key: f.other.Key}
	}
	return value
}

// judge chooses what is served under a name: the first certificate that can be
// used, and the first one with the other kind of key. If none can be used, it
// takes what was served last for the same owner, or else a certificate that is
// only out of date. It looks at all of them, because each may have Problems.
func judge(
	name route.Hostname, uses []route.SecretUse, contents map[types.NamespacedName]content, last served, now time.Time,
) findings {
	var found findings
	var expired served
	for _, use := range uses {
		c := contents[use.Secret]
		candidate := served{Certificate: c.certificate, secret: use.Secret}
		reason, fault, timely := c.check(name, now)
		if c.certificate != nil {
			found.soon(nextChange(c.certificate, now))
		}
		switch {
		case fault == "" && found.Certificate == nil:
			found.served = candidate
		case fault == "" && found.other == nil && c.certificate.RSA != found.RSA && name != route.AnyHost:
			found.other = &candidate
		case fault != "" && timely && expired.Certificate == nil:
			expired = candidate
		}
		if c.unread != "" {
			reason, fault = route.ReasonSecretUnreadable, c.unread
		}
		if fault != "" {
			found.problems = append(found.problems, use.Problem(reason, fmt.Sprintf(
				"Secret %s cannot be used: %s%s", use.Secret.Name, fault, meanwhile)))
		}
	}
	switch {
	case found.Certificate != nil && found.other == nil:
		found.other = last.stillMissing(found.served, name, uses, contents, now)
	case found.Certificate != nil || len(uses) == 0:
	case last.Certificate != nil && last.secret.Namespace == uses[0].Secret.Namespace:
		found.served = last
	default:
		found.served = expired
	}
	return found
}

// stillMissing returns the part of what was served last that goes with what is
// served now. It must have the other kind of key, and its Secret must still be
// asked for but no longer be usable.
func (s served) stillMissing(
	now served, name route.Hostname, uses []route.SecretUse, contents map[types.NamespacedName]content, at time.Time,
) *served {
	for _, last := range []*served{&s, s.other} {
		if last == nil || last.Certificate == nil || last.RSA == now.RSA {
			continue
		}
		asked := slices.ContainsFunc(uses, func(use route.SecretUse) bool { return use.Secret == last.secret })
		if _, fault, _ := contents[last.secret].check(name, at); asked && fault != "" {
			return &served{Certificate: last.Certificate, secret: last.secret}
		}
	}
	return nil
}

// check returns why a content cannot be served under a name. timely means that
// only the time is at fault.
func (c content) check(name route.Hostname, now time.Time) (reason problem.Reason, fault string, timely bool) {
	switch {
	case c.certificate == nil:
		return c.reason, c.fault, false
	case name != route.AnyHost && !c.certificate.Covers(string(name)):
		return route.ReasonCertificateNames, fmt.Sprintf(
			"its certificate is for %s, not for %q", c.certificate.Names(), string(name)), false
	}
	if fault := c.certificate.ValidAt(now); fault != "" {
		return route.ReasonCertificateExpired, fault, true
	}
	return "", "", false
}

// nextChange returns the time until a certificate begins or ceases to be valid.
func nextChange(c *certificate.Certificate, now time.Time) time.Duration {
	for _, at := range []time.Time{c.NotBefore, c.NotAfter} {
		if now.Before(at) || now.Equal(at) {
			return at.Sub(now) + time.Second
		}
	}
	return 0
}

// soon asks for another look after d, unless an earlier one is due.
func (f *findings) soon(d time.Duration) {
	if d > 0 && (f.again == 0 || d < f.again) {
		f.again = d
	}
}
