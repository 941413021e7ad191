package order

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// The Reasons of this package (docs/problems.md).
const (
	ReasonIssuerNotFound   problem.Reason = "IssuerNotFound"    // no Issuer has that name
	ReasonIssuerNotOurs    problem.Reason = "IssuerNotOurs"     // it belongs to another installation
	ReasonIssuerNotReady   problem.Reason = "IssuerNotReady"    // its condition Ready says why
	ReasonIssuerConflict   problem.Reason = "IssuerConflict"    // an older Ingress asks another Issuer for the same Secret
	ReasonSecretNotOurs    problem.Reason = "SecretNotOurs"     // we have not made the Secret
	ReasonWildcardNeedsDNS problem.Reason = "WildcardNeedsDNS"  // DNS-01 is not among the Issuer's challenges
	ReasonTooManyNames     problem.Reason = "TooManyNames"      // for one certificate
	ReasonCannotWrite      problem.Reason = "CannotWriteSecret" // the API server refuses
	ReasonNotIssued        problem.Reason = "CertificateFailed" // the message says why, and when it is tried again
)

// maxNames is how many names a certificate can have: the limit of the largest
// public authority.
const maxNames = 100

// Key is a Secret that is to hold a certificate for Ingresses.
type Key = types.NamespacedName

// Request is an Ingress of ours that names the Secret, and what it asks for.
type Request struct {
	index.IssuerRequest

	Ingress *networkingv1.Ingress
}

// Objects are all that decides what must be ordered for a key. Wanted changes none
// of them.
type Objects struct {
	// Controller is ours: Issuers of another Controller are not for us.
	Controller route.Controller
	Requests   []Request
	// Rivals are, for each name that a Request wants in the Secret, the Ingresses
	// of its gateway that want the name over TLS, whichever Secret they name.
	Rivals map[route.Key][]*networkingv1.Ingress
	// Issuers are at least those that Requests name. One that is absent does not
	// exist.
	Issuers map[string]*v1alpha1.Issuer
	// Foreign says that the Secret exists and that we have not made it. If another
	// installation has, MadeBy is its Controller.
	Foreign bool
	MadeBy  string
}

// Spec is a certificate that is to exist.
type Spec struct {
	Issuer string
	// Names are sorted and without duplicates.
	Names []string
	// Ingresses are those that ask, the oldest first. They get the events.
	Ingresses []types.NamespacedName
	// Blocked is why it cannot be ordered as things are; a Problem says so too.
	Blocked string
}

// Wanted returns the certificate that is to be in the Secret of key, nil if no
// Ingress asks for one that is possible. It also returns what is wrong with the
// requests.
func Wanted(key Key, objects Objects) (*Spec, []problem.Problem) {
	w := specBuilder{key: key, objects: objects}
	requests := w.askers()
	if len(requests) == 0 {
		return nil, nil
	}
	if issuer := objects.Issuers[w.spec.Issuer]; issuer != nil && !objects.Controller.OwnsIssuer(issuer.Spec.Controller) {
		its := route.Controller(issuer.Spec.Controller)
		w.complain(requests, false, ReasonIssuerNotOurs, fmt.Sprintf(
			"Issuer %q belongs to controller %q, and controller %q serves this Ingress: nothing is ordered. "+
				"Name an Issuer whose spec.controller is %[3]q, or set spec.controller of this one to that",
			w.spec.Issuer, its.String(), objects.Controller.String()))
		return nil, problem.Sort(w.problems)
	}
	if objects.Foreign {
		by := "was not made by Fairway"
		if objects.MadeBy != "" {
			by = fmt.Sprintf("was made by another installation of Fairway, with controller %q", objects.MadeBy)
		}
		w.complain(requests, true, ReasonSecretNotOurs, fmt.Sprintf(
			"Secret %s is there and %s: it is served as it is, and no certificate is ordered. "+
				"To have one ordered, name another Secret, or delete this one", key.Name, by))
		return nil, problem.Sort(w.problems)
	}
	w.names(requests)
	if len(w.spec.Names) == 0 {
		return nil, problem.Sort(w.problems)
	}
	if len(w.spec.Names) > maxNames {
		w.block(requests, ReasonTooManyNames, fmt.Sprintf(
			"a certificate for %d names is asked for, and can have %d; spread them over several Secrets", len(w.spec.Names), maxNames))
	}
	if objects.Issuers[w.spec.Issuer] == nil {
		w.block(requests, ReasonIssuerNotFound, fmt.Sprintf("there is no Issuer %q; nothing is ordered until there is", w.spec.Issuer))
	}
	return &w.spec, problem.Sort(w.problems)
}

// specBuilder builds a Spec.
type specBuilder struct {
	key      Key
	objects  Objects
	spec     Spec
	problems []problem.Problem
}

// askers returns the Requests that name the same Issuer as the oldest one that
// names any.
func (w *specBuilder) askers() []Request {
	requests := slices.DeleteFunc(slices.Clone(w.objects.Requests), func(r Request) bool { return r.Issuer == "" })
	slices.SortFunc(requests, func(a, b Request) int {
		return cmp.Or(
			a.Ingress.CreationTimestamp.Compare(b.Ingress.CreationTimestamp.Time),
			cmp.Compare(a.Ingress.Name, b.Ingress.Name), // of one namespace
		)
	})
	var agreed []Request
	for _, r := range requests {
		if r.Issuer != requests[0].Issuer {
			w.complain([]Request{r}, false, ReasonIssuerConflict, fmt.Sprintf(
				"Ingress %s, which comes first, asks Issuer %q for the certificate in Secret %s: %q is not asked, and the names of this Ingress are not in it",
				requests[0].Ingress.Name, requests[0].Issuer, w.key.Name, r.Issuer))
			continue
		}
		agreed = append(agreed, r)
		w.spec.Issuer = r.Issuer
		w.spec.Ingresses = append(w.spec.Ingresses, nameOf(r.Ingress))
	}
	return agreed
}

// names gathers the names for the certificate. It leaves out a name that belongs
// to another namespace; the servercert package reports that to the Ingress.
func (w *specBuilder) names(requests []Request) {
	issuer := w.objects.Issuers[w.spec.Issuer]
	for _, r := range requests {
		for _, name := range route.TLSNamesBySecret(r.Ingress, w.key.Name) {
			if name == route.AnyHost || !w.owns(route.Key{Gateway: r.Gateway, Host: name}) {
				continue
			}
			if strings.HasPrefix(string(name), "*.") && issuer != nil && !Proves(issuer, v1alpha1.ChallengeDNS01) {
				w.complain([]Request{r}, false, ReasonWildcardNeedsDNS, fmt.Sprintf(
					"%s can be proved by DNS-01 alone, which Issuer %q does not have; the certificate is ordered without it", name, issuer.Name))
				continue
			}
			w.spec.Names = append(w.spec.Names, string(name))
		}
	}
	slices.Sort(w.spec.Names)
	w.spec.Names = slices.Compact(w.spec.Names)
}

// owns reports whether the Secret may be served under a name.
func (w *specBuilder) owns(name route.Key) bool {
	uses, _, _ := route.SecretsFor(name.Host, w.objects.Rivals[name])
	return slices.ContainsFunc(uses, func(use route.SecretUse) bool { return use.Secret == w.key })
}

// block says why the certificate cannot be ordered.
func (w *specBuilder) block(requests []Request, reason problem.Reason, message string) {
	w.complain(requests, false, reason, message)
	w.spec.Blocked = message
}

// complain reports a Problem on each of the Ingresses, or with own only on those
// that name the Issuer themselves.
func (w *specBuilder) complain(requests []Request, own bool, reason problem.Reason, message string) {
	for _, r := range requests {
		if own && !r.Own {
			continue
		}
		w.problems = append(w.problems, problemOf(nameOf(r.Ingress), w.key, r.Ingress, reason, message))
	}
}

// problemOf makes a Problem at the field where the Ingress names the Secret.
func problemOf(name types.NamespacedName, key Key, ing *networkingv1.Ingress, reason problem.Reason, message string) problem.Problem {
	field := ""
	if ing != nil {
		at := slices.IndexFunc(ing.Spec.TLS, func(entry networkingv1.IngressTLS) bool { return entry.SecretName == key.Name })
		field = fmt.Sprintf("spec.tls[%d].secretName", at)
	}
	return problem.Problem{Object: problem.Object{Kind: "Ingress", Name: name}, Field: field, Reason: reason, Message: message}
}

// Proves reports whether an Issuer may use a challenge.
func Proves(issuer *v1alpha1.Issuer, by v1alpha1.ChallengeType) bool {
	return slices.Contains(Challenges(issuer), by)
}

// Challenges returns those that an Issuer may use, best first.
func Challenges(issuer *v1alpha1.Issuer) []v1alpha1.ChallengeType {
	if len(issuer.Spec.Challenges) > 0 {
		return issuer.Spec.Challenges
	}
	challenges := []v1alpha1.ChallengeType{v1alpha1.ChallengeHTTP01, v1alpha1.ChallengeTLSALPN01}
	if issuer.Spec.DNS != nil {
		challenges = append(challenges, v1alpha1.ChallengeDNS01)
	}
	return challenges
}

func nameOf(ing *networkingv1.Ingress) types.NamespacedName {
	return types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}
}
