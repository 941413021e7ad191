package route

import (
	"fmt"
	"net/http"

	networkingv1 "k8s.io/api/networking/v1"
)

// AnnotationTLSPassthrough with the value "true" has connections over TLS passed
// on to the backend as they are, by the server name that the client asks for.
const AnnotationTLSPassthrough = annotationPrefix + "tls-passthrough"

// passedThrough is the Reason of the Route that answers what comes to a host
// otherwise than through.
const passedThrough = "TLSPassthrough"

// guard is who may connect to a host: what its Ingresses agree on. A host has
// one answer, because it is given before anything is known of a request but the
// server name.
//
// It belongs to the namespace of the oldest Ingress that names the host. Its
// Ingresses can demand certificates for all of the host; what others demand
// cannot be had, and so their rules are not served.
type guard struct {
	owner       *networkingv1.Ingress // the oldest; nil: nobody names the host
	passthrough bool                  // as the owner asks
	client      *ClientPolicy
	clientOf    *networkingv1.Ingress // who asked for it first
}

// guardOf is the guard of a host, of Ingresses sorted by age.
func guardOf(host Hostname, sorted []*networkingv1.Ingress) guard {
	var g guard
	for _, ing := range sorted {
		if !host.isServedBy(ing) {
			continue
		}
		asked, _ := optionsOf(ing)
		if g.owner == nil {
			g.owner = ing
			g.passthrough = asked.passesThrough() && host != AnyHost
		}
		if g.passthrough || asked.client == nil || ing.Namespace != g.owner.Namespace {
			continue
		}
		switch {
		case g.client == nil:
			policy := *asked.client
			g.client, g.clientOf = &policy, ing
		case g.client.CA == asked.client.CA && asked.client.Required:
			g.client.Required = true // the stricter of two that can be had together
		}
	}
	return g
}

// passesThrough reports whether TLS is to be passed through. Nobody could verify
// a client then.
func (o options) passesThrough() bool {
	return o.passthrough && o.client == nil && !o.clientBroken
}

// excludes reports whether ing has no say in what is served under the host:
// another's backend answers for it.
func (g guard) excludes(ing *networkingv1.Ingress) bool { return g.passthrough && ing != g.owner }

// isSecure reports whether requests over HTTP are never served.
func (g guard) isSecure() bool { return g.passthrough || g.client != nil }

// isServedBy reports whether ing asks for anything to be served under the host.
func (h Hostname) isServedBy(ing *networkingv1.Ingress) bool {
	if h == AnyHost && ing.Spec.DefaultBackend != nil {
		return true
	}
	for i := range ing.Spec.Rules {
		if h.isNamedBy(&ing.Spec.Rules[i]) {
			return true
		}
	}
	return false
}

// refusal is why what ing asks for under the host must not be served: it would
// be served with less than it demands. nil: it may. One without a message is
// reported with the Ingress as a whole.
func (g guard) refusal(host Hostname, ing *networkingv1.Ingress, asked options) *fault {
	switch {
	case asked.clientBroken:
		return &fault{reason: ReasonInvalidAnnotation}
	case asked.passesThrough() && host == AnyHost:
		return &fault{FieldOfAnnotation(AnnotationTLSPassthrough), ReasonPassthroughInvalid,
			"TLS is passed through by the name that a client asks for: rules without a host are answered 503"}
	case asked.passesThrough() && !g.passthrough:
		return &fault{FieldOfAnnotation(AnnotationTLSPassthrough), ReasonPassthroughConflict, fmt.Sprintf(
			"%s is that of Ingress %s, which comes first and has TLS end here; the rules of this Ingress for it are answered 503",
			forPeople(host), nameOf(g.owner))}
	case g.excludes(ing):
		return &fault{"", ReasonPassthroughConflict, fmt.Sprintf(
			"TLS for %s is passed through to the backend of Ingress %s, which comes first; the rules of this Ingress for it are not served",
			forPeople(host), nameOf(g.owner))}
	case asked.client != nil && (g.client == nil || asked.client.CA != g.client.CA):
		return &fault{FieldOfAnnotation(AnnotationClientCA), ReasonClientPolicyConflict, fmt.Sprintf(
			"%s; the rules of this Ingress for it are answered 503", g.demands(host))}
	}
	return nil
}

// demands says what the host demands of clients, and by whose word.
func (g guard) demands(host Hostname) string {
	if g.client == nil {
		return fmt.Sprintf("%s belongs to the namespace of Ingress %s, which comes first and demands no certificates",
			forPeople(host), nameOf(g.owner))
	}
	return fmt.Sprintf("%s has clients verified by Secret %s, as Ingress %s demands, which comes first",
		forPeople(host), g.client.CA, nameOf(g.clientOf))
}

// surprise tells ing that more is demanded of its clients than it asks for.
func (g guard) surprise(host Hostname, asked options) *fault {
	switch {
	case g.client == nil || asked.client != nil && *asked.client == *g.client:
		return nil
	case asked.client != nil:
		return &fault{FieldOfAnnotation(AnnotationClientCertificate), ReasonClientPolicyConflict, fmt.Sprintf(
			"another Ingress of %s requires certificates of clients by the same Secret; they are required", forPeople(host))}
	}
	return &fault{"", ReasonClientPolicyConflict, fmt.Sprintf(
		"Ingress %s demands certificates of clients for %s; they are demanded for the rules of this Ingress, too",
		nameOf(g.clientOf), forPeople(host))}
}

// passThrough makes of what the owner of the host claims for all paths where its
// connections go, and of its routes one that answers what comes otherwise.
func (b *builder) passThrough() *Cluster {
	ing := b.guard.owner
	all := Match{Kind: Prefix, Path: "/"}
	root, found := b.claims[all]
	if len(b.claims) > 1 || !found {
		b.report(ing, FieldOfAnnotation(AnnotationTLSPassthrough), fault{"", ReasonPassthroughInvalid, fmt.Sprintf(
			"TLS for %s is passed through, so that nobody sees paths: only what Prefix / leads to is served", forPeople(b.key.Host))})
	}
	answer := Route{Match: all, Status: http.StatusServiceUnavailable, Reason: string(ReasonPassthroughInvalid), Origin: nameOf(ing)}
	if found {
		answer.Redirect = root.route.Redirect
		answer.Reason = root.route.Reason
	}
	var to *Cluster
	if found && root.route.Cluster != nil && root.route.Cluster.DNS != "" && !b.localBackends {
		// The gateway looks at the addresses of a name for each request that it
		// forwards, and of a connection that it passes on it sees none.
		b.report(ing, FieldOfAnnotation(AnnotationTLSPassthrough), fault{"", ReasonBackendNotAllowed, fmt.Sprintf(
			"TLS for %s would be passed through to an ExternalName, whose addresses cannot be checked then (--allow-local-backends); requests are answered 503",
			forPeople(b.key.Host))})
		answer.Reason, found = string(ReasonBackendNotAllowed), false
	}
	if found && root.route.Cluster != nil {
		// As it comes, whatever the Service says that it speaks.
		to = &Cluster{Port: root.route.Cluster.Port, DNS: root.route.Cluster.DNS, DNSPort: root.route.Cluster.DNSPort}
		answer.Status, answer.Reason = http.StatusMisdirectedRequest, passedThrough
	}
	b.claims = map[Match]claim{all: {route: answer}}
	return to
}

// passthroughFaultsOf is what is wrong with passing TLS through for an Ingress
// as a whole.
func passthroughFaultsOf(ing *networkingv1.Ingress, asked options) []fault {
	if !asked.passthrough {
		return nil
	}
	if !asked.passesThrough() {
		return []fault{{FieldOfAnnotation(AnnotationTLSPassthrough), ReasonPassthroughInvalid,
			"TLS is not passed through: certificates of clients are demanded, which only the gateway can do"}}
	}
	var faults []fault
	for i := range ing.Spec.TLS {
		if ing.Spec.TLS[i].SecretName != "" {
			faults = append(faults, fault{fmt.Sprintf("spec.tls[%d].secretName", i), ReasonPassthroughInvalid,
				"TLS is passed through: clients get the certificate of the backend, not this one"})
		}
	}
	return faults
}
