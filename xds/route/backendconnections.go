package route

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// AnnotationBackendConnections of a Service with the value "per-client" gives each
// connection of a client its own connections to the backend. It is for backends that
// authenticate a connection in place of a request (NTLM, Negotiate). "shared" is the
// default.
const AnnotationBackendConnections = annotationPrefix + "backend-connections"

// perClient reports whether the Service asks for connections of each client's own.
func perClient(service *corev1.Service) (asked bool, faults []fault) {
	switch value, said := service.Annotations[AnnotationBackendConnections]; {
	case !said || value == "shared":
		return false, nil
	case value == "per-client":
		return true, nil
	default:
		// It was meant to keep clients apart, and that costs others nothing.
		return true, []fault{wrongOption(AnnotationBackendConnections, fmt.Sprintf(
			"%q is neither \"per-client\" nor \"shared\"; connections are per client", value))}
	}
}
