package route

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/secret"
)

// Certificate is the certificate of a server name.
type Certificate struct {
	Chain []byte       // PEM, the server's own certificate first
	Key   secret.Bytes // PEM
	// Other is a second certificate, with the other kind of key (RSA and ECDSA), so that
	// clients get the one that they can use; nil: there is none.
	Other *Certificate
}

// Equal reports whether both are the same.
func (c *Certificate) Equal(other *Certificate) bool {
	if c == nil || other == nil {
		return c == other
	}
	return string(c.Chain) == string(other.Chain) && c.Key.Equal(other.Key) && c.Other.Equal(other.Other)
}

// SecretUse is a Secret that an Ingress wants to be served under a server name.
type SecretUse struct {
	Ingress types.NamespacedName
	Secret  types.NamespacedName // in the namespace of the Ingress
	Field   string               // of the Ingress that names it: "spec.tls[0].secretName"
}

// Problem is a Problem of the use.
func (u SecretUse) Problem(reason problem.Reason, message string) problem.Problem {
	return problem.Problem{
		Object: problem.Object{Kind: "Ingress", Name: u.Ingress}, Field: u.Field, Reason: reason, Message: message,
	}
}

// TLSNamesOf returns the server names that ing wants to be served over TLS,
// sorted and unique. An entry of spec.tls without hosts means all hosts of the
// Ingress. Invalid names are left out.
func TLSNamesOf(ing *networkingv1.Ingress) []Hostname {
	var names []Hostname
	for i := range ing.Spec.TLS {
		names = append(names, namesOfEntry(ing, &ing.Spec.TLS[i])...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TLSNamesBySecret returns those of TLSNamesOf for which ing names the Secret,
// of its own namespace.
func TLSNamesBySecret(ing *networkingv1.Ingress, secret string) []Hostname {
	var names []Hostname
	for i := range ing.Spec.TLS {
		if entry := &ing.Spec.TLS[i]; entry.SecretName == secret {
			names = append(names, namesOfEntry(ing, entry)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// SecretsOf returns the Secrets that ing names in spec.tls, sorted and unique.
func SecretsOf(ing *networkingv1.Ingress) []types.NamespacedName {
	var names []types.NamespacedName
	for i := range ing.Spec.TLS {
		if name := ing.Spec.TLS[i].SecretName; name != "" {
			names = append(names, types.NamespacedName{Namespace: ing.Namespace, Name: name})
		}
	}
	slices.SortFunc(names, compareNames)
	return slices.Compact(names)
}

// SecretsByTLSNames returns the Secrets that ing names in spec.tls for any of the
// server names, sorted and unique.
func SecretsByTLSNames(ing *networkingv1.Ingress, names []Hostname) []types.NamespacedName {
	var secrets []types.NamespacedName
	for i := range ing.Spec.TLS {
		entry := &ing.Spec.TLS[i]
		wanted := func(name Hostname) bool { return slices.Contains(names, name) }
		if entry.SecretName != "" && slices.ContainsFunc(namesOfEntry(ing, entry), wanted) {
			secrets = append(secrets, types.NamespacedName{Namespace: ing.Namespace, Name: entry.SecretName})
		}
	}
	slices.SortFunc(secrets, compareNames)
	return slices.Compact(secrets)
}

// SecretsFor returns the Secrets that may be served under a server name, best
// first, of Ingresses of one gateway: those that the oldest Ingress names in
// its order, then those of younger ones in its namespace. asked says whether
// any of the Ingresses wants the name over TLS; it may leave the Secret out.
//
// A name belongs to the namespace of the oldest Ingress that asks for it. The Secrets of
// other namespaces are not used, and their Ingresses have a Problem. Otherwise the author
// of any Ingress could answer for the name as soon as its Secret breaks.
func SecretsFor(name Hostname, ingresses []*networkingv1.Ingress) (uses []SecretUse, asked bool, problems []problem.Problem) {
	var owner *networkingv1.Ingress
	for _, ing := range byAge(ingresses) {
		for i := range ing.Spec.TLS {
			entry := &ing.Spec.TLS[i]
			if !slices.Contains(namesOfEntry(ing, entry), name) {
				continue
			}
			asked = true
			if entry.SecretName == "" {
				continue
			}
			use := SecretUse{
				Ingress: nameOf(ing),
				Secret:  types.NamespacedName{Namespace: ing.Namespace, Name: entry.SecretName},
				Field:   fmt.Sprintf("spec.tls[%d].secretName", i),
			}
			if owner == nil {
				owner = ing
			}
			if ing.Namespace == owner.Namespace {
				uses = append(uses, use)
				continue
			}
			problems = append(problems, use.Problem(ReasonTLSHostConflict, fmt.Sprintf(
				"the certificate of %s is that of Ingress %s, which comes first; this Secret is not used for it",
				forPeople(name), nameOf(owner))))
		}
	}
	return uses, asked, problem.Sort(problems)
}

// TLSNotServed is the Problem of an Ingress that asks for TLS at a gateway without
// an HTTPS port.
func TLSNotServed(ing *networkingv1.Ingress, gateway Gateway) problem.Problem {
	return problem.Problem{
		Object: problem.Object{Kind: "Ingress", Name: nameOf(ing)}, Field: "spec.tls", Reason: ReasonTLSNotServed,
		Message: fmt.Sprintf("gateway %q has no HTTPS port: the hosts are served over HTTP only, and without a redirect", gateway),
	}
}

// namesOfEntry is the valid server names of one entry of spec.tls.
func namesOfEntry(ing *networkingv1.Ingress, entry *networkingv1.IngressTLS) []Hostname {
	if len(entry.Hosts) == 0 {
		return HostsOf(ing)
	}
	var names []Hostname
	for _, raw := range entry.Hosts {
		if name, wrong := hostnameOf(raw); wrong == "" && raw != "" {
			names = append(names, name)
		}
	}
	return names
}

// isSecure reports whether ing wants the host over TLS, by its name or by a
// wildcard that covers it.
func (h Hostname) isSecure(ing *networkingv1.Ingress) bool {
	for i := range ing.Spec.TLS {
		names := namesOfEntry(ing, &ing.Spec.TLS[i])
		if slices.Contains(names, h) {
			return true
		}
		if wildcard, ok := h.Wildcard(); ok && slices.Contains(names, wildcard) {
			return true
		}
	}
	return false
}

// Wildcard is the wildcard that covers a full name: "*.test" of "shop.test". A
// name of one label, a wildcard and AnyHost have none.
func (h Hostname) Wildcard() (Hostname, bool) {
	label, parent, found := strings.Cut(string(h), ".")
	if !found || label == "*" || label == "" {
		return "", false
	}
	return Hostname("*." + parent), true
}

// tlsFaultsOf is the faults of the names in spec.tls.
func tlsFaultsOf(ing *networkingv1.Ingress) []fault {
	var faults []fault
	for i := range ing.Spec.TLS {
		for j, raw := range ing.Spec.TLS[i].Hosts {
			wrong := "leave hosts out to mean all hosts of the Ingress"
			if raw != "" {
				_, wrong = hostnameOf(raw)
			}
			if wrong != "" {
				faults = append(faults, fault{fmt.Sprintf("spec.tls[%d].hosts[%d]", i, j), ReasonInvalidHost,
					fmt.Sprintf("host %q is not served over TLS: %s", raw, wrong)})
			}
		}
	}
	return faults
}
