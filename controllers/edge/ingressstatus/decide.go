// Package ingressstatus writes into Ingresses the addresses at which they are served.
//
// An address is a promise: it is given when every connected Envoy, at all
// replicas, serves the Ingress (controllers/replicas/replica says whether), and is never
// taken away by anything but a change of the Ingress or of its class. Only the
// leader runs this, and writes with a field manager of its own, so that what
// another controller has written is never touched.
package ingressstatus

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FieldManager owns what is written.
const FieldManager = "fairway"

// facts are what is known of an Ingress.
type facts struct {
	ours    bool // one of our gateways serves it
	foreign bool // a class that is not ours claims it, or none could
	owned   bool // its addresses are what we have written
	leaving bool // it is being deleted
	moved   bool // its addresses are those of another gateway
	current []networkingv1.IngressLoadBalancerIngress
	wanted  []networkingv1.IngressLoadBalancerIngress // none: it is not known
}

// action is what becomes of the addresses of an Ingress.
type action int

const (
	leave    action = iota // as they are
	await                  // until every Envoy serves it, then give
	give                   // the wanted ones, at once
	withdraw               // away, with our ownership
)

// next is the table of docs/status.md.
func next(f facts) action {
	switch {
	case !f.ours && f.foreign && f.owned:
		return withdraw
	case !f.ours, f.leaving:
		return leave
	case len(f.wanted) == 0: // a Service that has lost its addresses will find new ones
		return leave
	case f.owned && same(f.current, f.wanted):
		return leave
	case f.owned && len(f.current) > 0 && !f.moved: // it was given; only the address is another
		return give
	default:
		return await
	}
}

func same(a, b []networkingv1.IngressLoadBalancerIngress) bool {
	return slices.EqualFunc(a, b, func(x, y networkingv1.IngressLoadBalancerIngress) bool {
		return equality.Semantic.DeepEqual(x, y)
	})
}

// Keep takes from an Ingress what the decision does not need: of its status all
// but the addresses, of its managed fields all but the note that the addresses
// are ours. It is for a cache's transform.
func Keep(ingress *networkingv1.Ingress, managed []metav1.ManagedFieldsEntry) {
	ingress.ManagedFields = nil
	if slices.ContainsFunc(managed, isOurs) {
		ingress.ManagedFields = []metav1.ManagedFieldsEntry{ours}
	}
}

// ours is the note of what we own, without the fields: there is only one.
var ours = metav1.ManagedFieldsEntry{
	Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply, Subresource: "status",
}

func isOurs(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == ours.Manager && e.Operation == ours.Operation && e.Subresource == ours.Subresource
}
