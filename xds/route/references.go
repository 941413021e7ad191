package route

import (
	"cmp"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ServicesOf returns the Services that ing names, sorted and unique, whether
// they exist or not.
func ServicesOf(ing *networkingv1.Ingress) []types.NamespacedName {
	var names []types.NamespacedName
	add := func(backend *networkingv1.IngressBackend) {
		if backend != nil && backend.Service != nil && backend.Service.Name != "" {
			names = append(names, types.NamespacedName{Namespace: ing.Namespace, Name: backend.Service.Name})
		}
	}
	add(ing.Spec.DefaultBackend)
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				add(&http.Paths[j].Backend)
			}
		}
	}
	slices.SortFunc(names, compareNames)
	return slices.Compact(names)
}

// ServicesAt returns the Services to which ing leads the matching requests for the host,
// sorted and unique, whether they exist or not.
func ServicesAt(ing *networkingv1.Ingress, host Hostname, matches func(Match) bool) []types.NamespacedName {
	var names []types.NamespacedName
	add := func(match Match, backend *networkingv1.IngressBackend) {
		if backend != nil && backend.Service != nil && backend.Service.Name != "" && matches(match) {
			names = append(names, types.NamespacedName{Namespace: ing.Namespace, Name: backend.Service.Name})
		}
	}
	for i := range ing.Spec.Rules {
		rule := &ing.Spec.Rules[i]
		if rule.HTTP == nil || !host.isNamedBy(rule) {
			continue
		}
		for j := range rule.HTTP.Paths {
			path := &rule.HTTP.Paths[j]
			if match, ok, _ := matchOf(path); ok {
				add(match, &path.Backend)
			}
		}
	}
	add(Match{Kind: Prefix, Path: "/"}, ing.Spec.DefaultBackend)
	slices.SortFunc(names, compareNames)
	return slices.Compact(names)
}

// PortsOf returns the Service ports whose endpoints host needs as Backends,
// sorted and unique; those that Envoy resolves by DNS are not among them. A nil
// host needs none.
func PortsOf(host *Host) []ServicePort {
	if host == nil {
		return nil
	}
	var ports []ServicePort
	add := func(cluster *Cluster) {
		if cluster != nil && cluster.DNS == "" {
			ports = append(ports, cluster.Port)
		}
	}
	add(host.Passthrough)
	for i := range host.Routes {
		add(host.Routes[i].Cluster)
	}
	slices.SortFunc(ports, comparePorts)
	return slices.Compact(ports)
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func comparePorts(a, b ServicePort) int {
	return cmp.Or(compareNames(a.Service, b.Service), cmp.Compare(a.Port, b.Port))
}
