package route

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairwaynet/fairway/api/problem"
)

// The annotations of a Service for TLS to its backends. They apply to the ports whose
// appProtocol asks for TLS. Without them TLS is encrypted and not verified.
const (
	// AnnotationBackendCA names a Secret of the Service's namespace. The authorities
	// in its ca.crt must have signed the backend's certificate, which must be for the
	// backend's name. "system" stands for the authorities that the controller's own
	// machine trusts.
	AnnotationBackendCA = annotationPrefix + "backend-ca"
	// AnnotationBackendSNI is the server name (SNI) that the gateway asks for and
	// verifies.
	AnnotationBackendSNI = annotationPrefix + "backend-sni"
	// AnnotationBackendVerify is "false" for no verification, which is the default
	// without a CA, or "true" for verification, by "system" if there is no CA.
	AnnotationBackendVerify = annotationPrefix + "backend-verify"
)

// CAKey is the key of a Secret that holds the certificates of an Authority.
const CAKey = "ca.crt"

// Authority names the certificate authorities by which a backend is verified: those
// of a Secret. SystemAuthority has no namespace. With the zero value no backend is
// verified.
type Authority types.NamespacedName

// systemAuthority is the name of SystemAuthority in annotations.
const systemAuthority = "system"

// SystemAuthority is the authorities that the controller's own machine trusts.
func SystemAuthority() Authority { return Authority{Name: systemAuthority} }

// String is "shop/roots", or "system".
func (a Authority) String() string {
	if a.Namespace == "" {
		return a.Name
	}
	return types.NamespacedName(a).String()
}

// AuthorityOf is the Authority that a Service names; the zero value if it names none,
// or names it wrongly.
func AuthorityOf(service *corev1.Service) Authority {
	read, _, _ := backendTLSOf(service)
	return read.authority
}

// AuthorityProblem is a Problem of the Authority that a Service names.
func AuthorityProblem(service types.NamespacedName, reason problem.Reason, message string) problem.Problem {
	return fault{"", reason, message}.in(problem.Object{Kind: "Service", Name: service}, annotationField(AnnotationBackendCA))
}

// backendTLS is the TLS of connections to the ports of a Service.
type backendTLS struct {
	authority Authority
	sni       string
}

// backendTLSOf reads the annotations of a Service. A fault in broken means that the
// identity of its backend is unknown, so that no connection may be made to it. Each of
// the other faults leaves one annotation without effect.
func backendTLSOf(service *corev1.Service) (read backendTLS, broken *fault, faults []fault) {
	ca, given := service.Annotations[AnnotationBackendCA]
	switch {
	case !given:
	case ca == systemAuthority:
		read.authority = SystemAuthority()
	case len(validation.IsDNS1123Subdomain(ca)) > 0:
		broken = &fault{annotationField(AnnotationBackendCA), ReasonBackendTLS, fmt.Sprintf("%q is no name of a Secret", ca)}
	default:
		read.authority = Authority{Namespace: service.Namespace, Name: ca}
	}
	switch verify, said := service.Annotations[AnnotationBackendVerify]; {
	case !said || verify == "false" && !given || verify == "true" && given:
	case verify == "true":
		read.authority = SystemAuthority()
	case verify == "false":
		faults = append(faults, wrongOption(AnnotationBackendVerify, "backend-ca has it verified all the same; remove one of the two"))
	default:
		faults = append(faults, wrongOption(AnnotationBackendVerify, fmt.Sprintf("%q is neither \"true\" nor \"false\"; it has no effect", verify)))
	}
	if sni, said := service.Annotations[AnnotationBackendSNI]; said {
		if isServerName(sni) {
			read.sni = sni
		} else {
			faults = append(faults, wrongOption(AnnotationBackendSNI, fmt.Sprintf("%q is not a DNS name in lower case; it has no effect", sni)))
		}
	}
	if !speaksTLS(service) {
		broken, faults = withoutTLS(service, read, broken, faults)
		read = backendTLS{}
	}
	return read, broken, append(faults, unknownOptions(service)...)
}

// withoutTLS is the faults of TLS annotations of a Service without TLS. A backend
// that should be verified must not be spoken to in the clear.
func withoutTLS(service *corev1.Service, read backendTLS, broken *fault, faults []fault) (*fault, []fault) {
	const why = "none of its ports speaks TLS; that takes an appProtocol of https, grpcs or kubernetes.io/wss"
	switch {
	case broken != nil:
	case read.authority != (Authority{}):
		broken = &fault{annotationField(AnnotationBackendCA), ReasonBackendTLS, why}
	case service.Annotations[AnnotationBackendSNI] != "":
		faults = append(faults, wrongOption(AnnotationBackendSNI, why))
	}
	return broken, faults
}

func speaksTLS(service *corev1.Service) bool {
	return slices.ContainsFunc(service.Spec.Ports, func(port corev1.ServicePort) bool {
		says, _ := backendProtocolOf(port)
		return says.tls && isTCP(port.Protocol)
	})
}

// unknownOptions are the faults of annotations with Fairway's prefix that do not
// exist.
func unknownOptions(service *corev1.Service) []fault {
	var faults []fault
	for name := range service.Annotations {
		switch name {
		case AnnotationBackendCA, AnnotationBackendSNI, AnnotationBackendVerify, AnnotationOutlierDetection, AnnotationBackendConnections:
			continue
		}
		if strings.HasPrefix(name, annotationPrefix) {
			faults = append(faults, fault{annotationField(name), ReasonUnknownAnnotation, fmt.Sprintf(
				"Fairway knows no annotation %q of a Service; it has no effect", name)})
		}
	}
	return faults
}

func wrongOption(annotation, message string) fault {
	return fault{annotationField(annotation), ReasonInvalidAnnotation, message}
}

func annotationField(name string) string { return fmt.Sprintf("metadata.annotations[%s]", name) }

// isServerName reports whether a text can be sent as a server name: a DNS name, and
// no address (RFC 6066).
func isServerName(text string) bool {
	_, err := netip.ParseAddr(text)
	return err != nil && len(validation.IsDNS1123Subdomain(text)) == 0
}

// withTLS is a target of a Service with the TLS of its annotations.
func (t target) withTLS(service *corev1.Service) target {
	read, broken, faults := backendTLSOf(service)
	alone, wrong := perClient(service)
	isTLS := t.cluster != nil && t.cluster.TLS
	switch {
	case t.fault != nil:
	case broken != nil && (isTLS || !speaksTLS(service)):
		t = answer503("service.name", broken.reason, "%s of Service %q: %s", broken.field, service.Name, broken.message)
	default:
		if isTLS {
			t.cluster.Authority, t.cluster.SNI = read.authority, read.sni
		}
		if t.cluster.PerClient = alone; alone && t.cluster.Protocol == HTTPAuto {
			t.cluster.Protocol = HTTP1 // over HTTP/2 no connection is authenticated
		}
	}
	for _, fault := range append(faults, wrong...) {
		t.problems = append(t.problems, fault.in(ofService(service), ""))
	}
	return t
}
