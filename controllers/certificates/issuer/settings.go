package issuer

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/certificates/order"
	"github.com/fairwaynet/fairway/tls/acme"
)

// Check returns what is wrong with an Issuer as it is written. It looks for no
// Secrets and asks no authority.
func Check(issuer *v1alpha1.Issuer) []problem.Problem {
	settings, fault := settingsOf(issuer)
	if fault == "" {
		fault = settings.Fault()
	}
	if fault == "" && !settings.TermsAgreed {
		fault = "spec.termsAgreed is not true: without it no account is registered"
	}
	if fault == "" {
		return nil
	}
	return []problem.Problem{notReady(issuer.Name, fault)}
}

// notReady is the Problem of an Issuer that cannot be used.
func notReady(name, message string) problem.Problem {
	return problem.Problem{
		Object:  problem.Object{Kind: "Issuer", Name: types.NamespacedName{Name: name}},
		Reason:  order.ReasonIssuerNotReady,
		Message: message,
	}
}

// settingsOf returns what an Issuer asks for, without what is in Secrets. fault
// says, for people, what contradicts itself.
func settingsOf(issuer *v1alpha1.Issuer) (settings acme.Settings, fault string) {
	spec := issuer.Spec
	settings = acme.Settings{
		Directory: spec.Directory, Email: spec.Email, TermsAgreed: spec.TermsAgreed, Profile: spec.Profile,
		CABundle: []byte(spec.CABundle), KeyType: acme.KeyType(spec.KeyType),
	}
	for _, c := range order.Challenges(issuer) {
		settings.Challenges = append(settings.Challenges, acme.ChallengeType(strings.ToLower(string(c))))
	}
	if order.Proves(issuer, v1alpha1.ChallengeDNS01) && spec.DNS == nil {
		fault = "spec.challenges: DNS-01 needs spec.dns"
	}
	return settings, fault
}

// settings returns what an Issuer asks for. fault says, for people, why it cannot
// be used.
func (r *Reconciler) settings(ctx context.Context, issuer *v1alpha1.Issuer) (settings acme.Settings, fault string, err error) {
	spec := issuer.Spec
	settings, fault = settingsOf(issuer)
	if fault != "" {
		return settings, fault, nil
	}
	if external := spec.ExternalAccount; external != nil {
		key, fault, err := r.value(ctx, external.SecretName)
		if fault != "" || err != nil {
			return settings, "spec.externalAccount: " + fault, err
		}
		settings.ExternalAccount = &acme.ExternalAccount{KeyID: external.KeyID, Key: key}
	}
	if dns := spec.DNS; dns != nil && dns.RFC2136 != nil && dns.RFC2136.TSIG != nil {
		if _, fault, err := r.value(ctx, dns.RFC2136.TSIG.SecretName); fault != "" || err != nil {
			return settings, "spec.dns.rfc2136.tsig: " + fault, err
		}
	}
	return settings, settings.Fault(), nil
}

// value returns the content of a Secret that an Issuer names.
func (r *Reconciler) value(ctx context.Context, name v1alpha1.SecretName) (value secret.Bytes, fault string, err error) {
	object, err := r.Secrets.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: string(name)})
	switch {
	case err != nil:
		return secret.Bytes{}, "", err
	case object == nil:
		return secret.Bytes{}, fmt.Sprintf("there is no Secret %s/%s", r.Namespace, name), nil
	case len(object.Data[order.SecretKey]) == 0:
		return secret.Bytes{}, fmt.Sprintf("Secret %s/%s has nothing under %q", r.Namespace, name, order.SecretKey), nil
	}
	return secret.New(object.Data[order.SecretKey]), "", nil
}

// same reports whether a client for one of them can serve the other.
func same(a, b acme.Settings) bool {
	var keys [2]secret.Bytes
	for i, s := range []*acme.Settings{&a, &b} {
		if s.ExternalAccount != nil {
			keys[i] = s.ExternalAccount.Key
			s.ExternalAccount = &acme.ExternalAccount{KeyID: s.ExternalAccount.KeyID}
		}
	}
	return reflect.DeepEqual(a, b) && keys[0].Equal(keys[1])
}
