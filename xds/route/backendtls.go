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

// The annotations of a Service say how TLS is spoken to those of its ports whose
// appProtocol asks for TLS. Without them it is encrypted and not verified.
const (
	// AnnotationBackendCA names a Secret of the Service's namespace; the
	// certificates in its ca.crt must vouch for those of the backend, which must be
	// for its name. "system" is what the controller's own machine trusts.
	AnnotationBackendCA = annotationPrefix + "backend-ca"
	// AnnotationBackendSNI is the name that is asked for (SNI) and verified.
	AnnotationBackendSNI = annotationPrefix + "backend-sni"
	// AnnotationBackendVerify is "false" for no verification, which is so anyway
	// without a CA, and "true" for verification; without a CA that is by "system".
	AnnotationBackendVerify = annotationPrefix + "backend-verify"
)

// CAKey is where a Secret has the certificates of an Authority.
const CAKey = "ca.crt"

// Authority names the certificates that vouch for a backend: those of a Secret.
// One without a namespace is SystemAuthority; the zero value vouches for nobody
// and is asked about nobody.
type Authority types.NamespacedName

// systemAuthority is how annotations call SystemAuthority.
const systemAuthority = "system"

// SystemAuthority is whom the machine trusts.
func SystemAuthority() Authority { return Authority{Name: systemAuthority} }

// String is "shop/roots", or "system".
func (a Authority) String() string {
	if a.Namespace == "" {
		return a.Name
	}
	return types.NamespacedName(a).String()
}

// AuthorityOf is the Authority that a Service names; the zero value if it names
// none, or none that can be.
func AuthorityOf(service *corev1.Service) Authority {
	read, _, _ := backendTLSOf(service)
	return read.authority
}

// AuthorityProblem is what is wrong with the Authority that a Service names.
func AuthorityProblem(service types.NamespacedName, reason problem.Reason, message string) problem.Problem {
	return fault{"", reason, message}.in(problem.Object{Kind: "Service", Name: service}, annotationField(AnnotationBackendCA))
}

// backendTLS is how TLS is spoken to the ports of a Service.
type backendTLS struct {
	authority Authority
	sni       string
}

// backendTLSOf reads the annotations of a Service. A fault in broken means that
// nobody can say who its backend has to be, so that it must not be spoken to; the
// other faults leave what was asked for without an effect.
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

// withoutTLS is what is wrong with annotations of a Service that speaks no TLS.
// Who wants a backend verified does not want it spoken to in the clear.
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
		says, _ := spokenOf(port)
		return says.tls && isTCP(port.Protocol)
	})
}

// unknownOptions are annotations of ours that do not exist.
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

// isServerName reports whether a text can be sent as a server name: it is a DNS
// name and no address (RFC 6066).
func isServerName(text string) bool {
	_, err := netip.ParseAddr(text)
	return err != nil && len(validation.IsDNS1123Subdomain(text)) == 0
}

// asAnnotated is a target of a Service as its annotations have it.
func (t target) asAnnotated(service *corev1.Service) target {
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
