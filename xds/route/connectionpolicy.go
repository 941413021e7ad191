package route

import (
	"fmt"
	"net/http"

	networkingv1 "k8s.io/api/networking/v1"
)

// AnnotationTLSPassthrough with the value "true" passes connections over TLS on to
// the backend as they are, by the server name that the client asks for.
const AnnotationTLSPassthrough = annotationPrefix + "tls-passthrough"

// passedThrough is the Reason of the Route that answers requests of a passthrough
// host which do not come through passthrough.
const passedThrough = "TLSPassthrough"

// connectionPolicy says how clients may connect to a host: with which certificates, or by
// passthrough. A host has one answer for all of its Ingresses, because the answer is
// given when only the server name of a connection is known.
//
// The host belongs to the namespace of the oldest Ingress that names it. The Ingresses
// of that namespace can demand certificates for all of the host. The rules of another
// Ingress with such a demand are not served.
type connectionPolicy struct {
	owner       *networkingv1.Ingress // the oldest; nil: no Ingress names the host
	passthrough bool                  // as the owner asks
	client      *ClientPolicy
	clientOf    *networkingv1.Ingress // the first that asked for client
}

// connectionPolicyOf is that of a host, of Ingresses sorted by age.
func connectionPolicyOf(host Hostname, sorted []*networkingv1.Ingress) connectionPolicy {
	var p connectionPolicy
	for _, ing := range sorted {
		if !host.isServedBy(ing) {
			continue
		}
		asked, _ := optionsOf(ing)
		if p.owner == nil {
			p.owner = ing
			p.passthrough = asked.passesThrough() && host != AnyHost
		}
		if p.passthrough || asked.client == nil || ing.Namespace != p.owner.Namespace {
			continue
		}
		switch {
		case p.client == nil:
			policy := *asked.client
			p.client, p.clientOf = &policy, ing
		case p.client.CA == asked.client.CA && asked.client.Required:
			p.client.Required = true // the stricter of two that can be had together
		}
	}
	return p
}

// passesThrough reports whether TLS is to be passed through. It is not if clients
// are to be verified, which only the gateway can do.
func (o options) passesThrough() bool {
	return o.passthrough && o.client == nil && !o.clientBroken
}

// excludes reports whether nothing of ing is served under the host: the backend of
// another Ingress answers for all of it.
func (p connectionPolicy) excludes(ing *networkingv1.Ingress) bool {
	return p.passthrough && ing != p.owner
}

// isSecure reports whether requests over HTTP are never served.
func (p connectionPolicy) isSecure() bool { return p.passthrough || p.client != nil }

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

// refusal is the reason why the rules of ing for the host must not be served: they
// would be served with less than ing demands. nil: they may be. A refusal without a
// message is reported with the Ingress as a whole.
func (p connectionPolicy) refusal(host Hostname, ing *networkingv1.Ingress, asked options) *fault {
	switch {
	case asked.clientBroken:
		return &fault{reason: ReasonInvalidAnnotation}
	case asked.passesThrough() && host == AnyHost:
		return &fault{FieldOfAnnotation(AnnotationTLSPassthrough), ReasonPassthroughInvalid,
			"TLS is passed through by the name that a client asks for: rules without a host are answered 503"}
	case asked.passesThrough() && !p.passthrough:
		return &fault{FieldOfAnnotation(AnnotationTLSPassthrough), ReasonPassthroughConflict, fmt.Sprintf(
			"%s is that of Ingress %s, which comes first and has TLS end here; the rules of this Ingress for it are answered 503",
			forPeople(host), nameOf(p.owner))}
	case p.excludes(ing):
		return &fault{"", ReasonPassthroughConflict, fmt.Sprintf(
			"TLS for %s is passed through to the backend of Ingress %s, which comes first; the rules of this Ingress for it are not served",
			forPeople(host), nameOf(p.owner))}
	case asked.client != nil && (p.client == nil || asked.client.CA != p.client.CA):
		return &fault{FieldOfAnnotation(AnnotationClientCA), ReasonClientPolicyConflict, fmt.Sprintf(
			"%s; the rules of this Ingress for it are answered 503", p.demands(host))}
	}
	return nil
}

// demands tells people what the host demands of clients, and which Ingress says so.
func (p connectionPolicy) demands(host Hostname) string {
	if p.client == nil {
		return fmt.Sprintf("%s belongs to the namespace of Ingress %s, which comes first and demands no certificates",
			forPeople(host), nameOf(p.owner))
	}
	return fmt.Sprintf("%s has clients verified by Secret %s, as Ingress %s demands, which comes first",
		forPeople(host), p.client.CA, nameOf(p.clientOf))
}

// stricterDemand tells ing that more is demanded of its clients than it asks for.
func (p connectionPolicy) stricterDemand(host Hostname, asked options) *fault {
	switch {
	case p.client == nil || asked.client != nil && *asked.client == *p.client:
		return nil
	case asked.client != nil:
		return &fault{FieldOfAnnotation(AnnotationClientCertificate), ReasonClientPolicyConflict, fmt.Sprintf(
			"another Ingress of %s requires certificates of clients by the same Secret; they are required", forPeople(host))}
	}
	return &fault{"", ReasonClientPolicyConflict, fmt.Sprintf(
		"Ingress %s demands certificates of clients for %s; they are demanded for the rules of this Ingress, too",
		nameOf(p.clientOf), forPeople(host))}
}

// passThrough returns the cluster to which the host's connections are passed on: that
// of the owner's claim for all paths. The host's only route then answers the requests
// that come another way.
func (b *builder) passThrough() *Cluster {
	ing := b.policy.owner
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

// passthroughFaultsOf is the faults of an Ingress as a whole that asks for
// passthrough.
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
