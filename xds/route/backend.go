package route

import (
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairwaynet/fairway/api/problem"
)

// target is where a Route leads: to a cluster, or, with a fault, to status 503.
type target struct {
	cluster  *Cluster
	fault    *fault
	problems []problem.Problem // of the Service
}

// answer503 is the target of a backend that cannot be used. The path stays taken: a
// request for it must not end at a wider rule, whose backend never expected it.
func answer503(field string, reason problem.Reason, format string, args ...any) target {
	message := fmt.Sprintf(format, args...) + "; requests are answered 503"
	return target{fault: &fault{field, reason, message}}
}

// route is the part of a Route that follows from a target.
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
		return b.externalTarget(service, name, backend.Service.Port).withTLS(service).withOutlierDetection(service)
	}
	return b.serviceTarget(service, name, backend.Service.Port).withTLS(service).withOutlierDetection(service)
}

// faultOfPort says what is wrong with the port of a backend, whatever its Service.
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
func (b *builder) serviceTarget(service *corev1.Service, name types.NamespacedName, wanted networkingv1.ServiceBackendPort) target {
	port, wrong := portOf(service, wanted)
	if wrong != "" {
		return answer503("service.port", ReasonBackendNotFound, "%s", wrong)
	}
	return b.targetWithProtocol(service, port, Cluster{Port: ServicePort{Service: name, Port: port.Port}})
}

// externalTarget leads to the DNS name of an ExternalName Service. Such a Service
// need not list its ports: a number that it does not list stands for itself.
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
	to, unused := targetPortOf(port)
	t := b.targetWithProtocol(service, port, Cluster{Port: ServicePort{Service: name, Port: number}, DNS: dns, DNSPort: to})
	if unused != nil {
		t.problems = append(t.problems, unused.in(ofService(service), fieldOfPort(service, port)))
	}
	return t
}

// targetPortOf is the port to connect to at the name of an ExternalName Service; 0
// stands for the Service's own. A port that is a name means nothing: an ExternalName
// has no pods that could define it.
func targetPortOf(port corev1.ServicePort) (number int32, unused *fault) {
	switch to := port.TargetPort; {
	case to == (intstr.IntOrString{}), to.IntValue() == int(port.Port):
		return 0, nil
	case len(validation.IsValidPortNum(to.IntValue())) == 0:
		return int32(to.IntValue()), nil //nolint:gosec // it is a port
	default:
		return 0, &fault{"targetPort", ReasonUnusedTargetPort, fmt.Sprintf(
			"%q is no port number, and an ExternalName has no pods that could have a port of that name; port %d is connected to", to.String(), port.Port)}
	}
}

// targetWithProtocol is the target with the protocol of its Service port.
func (b *builder) targetWithProtocol(service *corev1.Service, port corev1.ServicePort, to Cluster) target {
	says, known := backendProtocolOf(port)
	to.Protocol, to.TLS = says.protocol, says.tls
	t := target{cluster: &to}
	if !known && !b.policy.passthrough {
		t.problems = append(t.problems, fault{"appProtocol", ReasonUnknownAppProtocol, fmt.Sprintf(
			"%q says nothing of HTTP that Fairway knows; HTTP/1.1 without TLS is spoken", *port.AppProtocol,
		)}.in(ofService(service), fieldOfPort(service, port)))
	}
	return t
}

func ofService(service *corev1.Service) problem.Object {
	return problem.Object{Kind: "Service", Name: types.NamespacedName{Namespace: service.Namespace, Name: service.Name}}
}

// fieldOfPort is the field of a Service that holds the port.
func fieldOfPort(service *corev1.Service, port corev1.ServicePort) string {
	at := slices.IndexFunc(service.Spec.Ports, func(its corev1.ServicePort) bool {
		return its.Port == port.Port && its.Name == port.Name && isTCP(its.Protocol)
	})
	return fmt.Sprintf("spec.ports[%d]", at)
}

// portOf finds the TCP port of a Service by name or number, or tells people why there
// is none.
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
