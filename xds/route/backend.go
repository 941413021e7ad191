package route

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairwaynet/fairway/api/problem"
)

// target is where a Route leads: to a cluster, or with a fault to 503.
type target struct {
	cluster  *Cluster
	fault    *fault
	problems []problem.Problem // of the Service
}

// answer503 is the target of a backend that cannot be reached by anyone. The
// path stays taken: a request for it must not end at a wider rule, whose
// backend never expected it.
func answer503(field string, reason problem.Reason, format string, args ...any) target {
	message := fmt.Sprintf(format, args...) + "; requests are answered 503"
	return target{fault: &fault{field, reason, message}}
}

// route is the Route of a target, without what does not depend on it.
func (t target) route() Route {
	if t.fault != nil {
		return Route{Status: http.StatusServiceUnavailable, Reason: string(t.fault.reason)}
	}
	return Route{Cluster: t.cluster}
}

// targetOf resolves a backend of an Ingress in namespace.
func (b *builder) targetOf(backend *networkingv1.IngressBackend, namespace string) target {
	switch {
	case backend.Service != nil && backend.Resource != nil:
		return answer503("", ReasonBackendInvalid, "the backend names both a Service and a resource")
	case backend.Resource != nil:
		return answer503("resource", ReasonBackendUnsupported,
			"the backend is the %s %q, and Fairway routes to Services only", backend.Resource.Kind, backend.Resource.Name)
	case backend.Service == nil:
		return answer503("", ReasonBackendInvalid, "the backend names no Service")
	case backend.Service.Name == "":
		return answer503("service.name", ReasonBackendInvalid, "the Service has no name")
	}
	if wrong := faultOfPort(backend.Service.Port); wrong != "" {
		return answer503("service.port", ReasonBackendInvalid, "%s", wrong)
	}
	name := types.NamespacedName{Namespace: namespace, Name: backend.Service.Name}
	service := b.services[name]
	if service == nil {
		return answer503("service.name", ReasonBackendNotFound, "Service %q does not exist in namespace %q", name.Name, namespace)
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return b.externalTarget(service, name, backend.Service.Port).secured(service).kept(service)
	}
	return serviceTarget(service, name, backend.Service.Port).secured(service).kept(service)
}

// faultOfPort says what is wrong with the port of a backend in itself.
func faultOfPort(port networkingv1.ServiceBackendPort) string {
	switch {
	case port.Name != "" && port.Number != 0:
		return "the port has both a name and a number"
	case port.Name == "" && port.Number == 0:
		return "the port has neither name nor number"
	case port.Number != 0 && len(validation.IsValidPortNum(int(port.Number))) > 0:
		return fmt.Sprintf("the port number %d is not between 1 and 65535", port.Number)
	default:
		return ""
	}
}

// serviceTarget leads to the endpoints of a Service.
func serviceTarget(service *corev1.Service, name types.NamespacedName, wanted networkingv1.ServiceBackendPort) target {
	port, wrong := portOf(service, wanted)
	if wrong != "" {
		return answer503("service.port", ReasonBackendNotFound, "%s", wrong)
	}
	protocol, tls := protocolOf(port.AppProtocol)
	return target{cluster: &Cluster{
		Port:     ServicePort{Service: name, Port: port.Port},
		Protocol: protocol,
		TLS:      tls,
	}}
}

// externalTarget leads to the DNS name that a Service stands for. Such a
// Service need not list its ports, so that a number stands for itself.
func (b *builder) externalTarget(service *corev1.Service, name types.NamespacedName, wanted networkingv1.ServiceBackendPort) target {
	dns, wrong, local := externalNameOf(service.Spec.ExternalName)
	switch {
	case wrong != "":
		return answer503("service.name", ReasonBackendInvalid,
			"the externalName %q of Service %q %s", service.Spec.ExternalName, name.Name, wrong)
	case local && !b.localBackends:
		return answer503("service.name", ReasonBackendNotAllowed,
			"the externalName %q of Service %q %s", service.Spec.ExternalName, name.Name, notAllowed)
	}
	number := wanted.Number
	port, wrong := portOf(service, wanted)
	switch {
	case wrong == "":
		number = port.Port
	case wanted.Name != "":
		return answer503("service.port", ReasonBackendNotFound, "%s", wrong)
	}
	protocol, tls := protocolOf(port.AppProtocol)
	return target{cluster: &Cluster{
		Port:     ServicePort{Service: name, Port: number},
		Protocol: protocol,
		TLS:      tls,
		DNS:      dns,
	}}
}

// portOf finds the TCP port of a Service by name or number, or says for people
// why there is none.
func portOf(service *corev1.Service, wanted networkingv1.ServiceBackendPort) (found corev1.ServicePort, wrong string) {
	var other corev1.Protocol
	for _, port := range service.Spec.Ports {
		hit := port.Port == wanted.Number
		if wanted.Name != "" {
			hit = port.Name == wanted.Name
		}
		switch {
		case !hit || len(validation.IsValidPortNum(int(port.Port))) > 0:
		case isTCP(port.Protocol):
			return port, ""
		default:
			other = port.Protocol
		}
	}
	text := fmt.Sprintf("port %d", wanted.Number)
	if wanted.Name != "" {
		text = fmt.Sprintf("port %q", wanted.Name)
	}
	if other != "" {
		return corev1.ServicePort{}, fmt.Sprintf("%s of Service %q is %s, not TCP", text, service.Name, other)
	}
	return corev1.ServicePort{}, fmt.Sprintf("Service %q has no %s", service.Name, text)
}

// protocolOf reads an appProtocol. What is not about HTTP (other vendors' and
// IANA's names are legal) gets HTTP/1.1, as without one.
func protocolOf(appProtocol *string) (protocol Protocol, tls bool) {
	if appProtocol == nil {
		return HTTP1, false
	}
	switch *appProtocol {
	case "https":
		return HTTPAuto, true
	case "kubernetes.io/wss":
		return HTTP1, true
	case "kubernetes.io/h2c", "grpc":
		return HTTP2, false
	case "grpcs":
		return HTTP2, true
	default: // "http", "kubernetes.io/ws"
		return HTTP1, false
	}
}
