// Package ingressstatus writes into Ingresses the addresses at which they are
// served.
//
// An address is a promise. An Ingress gets it when every connected Envoy, at all
// replicas, serves the Ingress (controllers/replicas/replica says whether). Only a
// change of the Ingress or of its class takes it away. Only the leader runs this.
// It writes with a field manager of its own, so that it never touches what another
// controller has written.
package ingressstatus

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// facts are what is known of an Ingress.
type facts struct {
	ours    bool // one of our gateways serves it
	foreign bool // its class is not ours; or it has none, and the default is not ours
	owned   bool // we have written its addresses
	leaving bool // it is being deleted
	moved   bool // its addresses are those of another gateway
	current []networkingv1.IngressLoadBalancerIngress
	wanted  []networkingv1.IngressLoadBalancerIngress // none: not known
}

// action is what to do with the addresses of an Ingress.
type action int

const (
	leave    action = iota // as they are
	await                  // give once every Envoy serves it
	give                   // write the wanted ones at once
	withdraw               // remove them, and our ownership
)

// next implements the table of docs/status.md.
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
	case f.owned && len(f.current) > 0 && !f.moved: // it has the promise already; only the address differs
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
