package index

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/route"
)

// Backends returns every Service port that the Ingress names, as it names it, in
// any of its rules or as its default.
func Backends(ingress *networkingv1.Ingress) []networkingv1.IngressServiceBackend {
	var backends []networkingv1.IngressServiceBackend
	add := func(backend *networkingv1.IngressBackend) {
		if backend != nil && backend.Service != nil {
			backends = append(backends, *backend.Service)
		}
	}
	add(ingress.Spec.DefaultBackend)
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for i := range rule.HTTP.Paths {
			add(&rule.HTTP.Paths[i].Backend)
		}
	}
	return backends
}

// Offers reports whether the Service has the port that a backend names.
func Offers(service *corev1.Service, port networkingv1.ServiceBackendPort) bool {
	for _, offered := range service.Spec.Ports {
		if Names(port, offered) {
			return true
		}
	}
	return false
}

// Names reports whether a backend's port means that port of the Service.
func Names(port networkingv1.ServiceBackendPort, offered corev1.ServicePort) bool {
	if port.Name != "" {
		return port.Name == offered.Name
	}
	return port.Number == offered.Port
}

// Ports returns all ports of the Service.
func Ports(service *corev1.Service) []route.ServicePort {
	name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	ports := make([]route.ServicePort, 0, len(service.Spec.Ports))
	for _, port := range service.Spec.Ports {
		ports = append(ports, route.ServicePort{Service: name, Port: port.Port})
	}
	return ports
}
