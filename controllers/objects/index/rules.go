package index

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/route"
)

// An Ingress may name a thousand hosts and as many Services. The functions here
// keep a change of one of them from costing all.

// ServicesOf returns the Services that the Ingress names for one host.
func ServicesOf(ingress *networkingv1.Ingress, host route.Hostname) []types.NamespacedName {
	raw := string(host)
	if host == route.AnyHost {
		raw = ""
	}
	return route.ServicesOf(withRules(ingress, func(rule networkingv1.IngressRule) bool { return rule.Host == raw }))
}

// HostsOf returns the hosts for which the Ingress names the Service.
func HostsOf(ingress *networkingv1.Ingress, service types.NamespacedName) []route.Hostname {
	if names(ingress.Spec.DefaultBackend, service.Name) {
		return route.HostsOf(ingress)
	}
	concerned := withRules(ingress, func(rule networkingv1.IngressRule) bool {
		return rule.HTTP != nil && slices.ContainsFunc(rule.HTTP.Paths, func(path networkingv1.HTTPIngressPath) bool {
			return names(&path.Backend, service.Name)
		})
	})
	if len(concerned.Spec.Rules) == 0 {
		return nil
	}
	return route.HostsOf(concerned)
}

func names(backend *networkingv1.IngressBackend, service string) bool {
	return backend != nil && backend.Service != nil && backend.Service.Name == service
}

// withRules returns a view of the Ingress with only the rules to keep.
func withRules(ingress *networkingv1.Ingress, keep func(networkingv1.IngressRule) bool) *networkingv1.Ingress {
	if !slices.ContainsFunc(ingress.Spec.Rules, func(rule networkingv1.IngressRule) bool { return !keep(rule) }) {
		return ingress
	}
	view := &networkingv1.Ingress{ObjectMeta: ingress.ObjectMeta, Spec: ingress.Spec}
	view.Spec.Rules = nil
	for _, rule := range ingress.Spec.Rules {
		if keep(rule) {
			view.Spec.Rules = append(view.Spec.Rules, rule)
		}
	}
	return view
}
