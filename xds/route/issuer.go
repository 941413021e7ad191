package route

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// AnnotationIssuer names the Issuer of an Ingress's certificates. NoIssuer asks for
// no certificate, even if the gateway's settings name an Issuer.
const AnnotationIssuer = annotationPrefix + "issuer"

// NoIssuer is the value of AnnotationIssuer that asks for no certificate.
const NoIssuer = "none"

// IssuerOf returns the Issuer whose certificate ing asks for: by its annotation, or
// else that of its gateway; empty: none. own says whether the Ingress itself asks, so
// that the outcome concerns its owner.
//
// An Ingress of cert-manager's asks for none.
func IssuerOf(ing *networkingv1.Ingress, ofGateway string) (issuer string, own bool) {
	if IsCertManagers(ing) {
		return "", false
	}
	switch value, set := ing.Annotations[AnnotationIssuer]; {
	case !set:
		return ofGateway, false
	case value == NoIssuer, len(validation.IsDNS1123Subdomain(value)) > 0:
		return "", false
	default:
		return value, true
	}
}

// IsCertManagers reports whether cert-manager makes the certificates of ing.
func IsCertManagers(ing *networkingv1.Ingress) bool {
	for name := range ing.Annotations {
		prefix, _, _ := strings.Cut(name, "/")
		if prefix == "cert-manager.io" || prefix == "acme.cert-manager.io" || name == "kubernetes.io/tls-acme" {
			return true
		}
	}
	return false
}

// issuerFaultsOf is the faults of an Ingress that asks for certificates itself.
func issuerFaultsOf(ing *networkingv1.Ingress) []fault {
	value, set := ing.Annotations[AnnotationIssuer]
	if !set || value == NoIssuer {
		return nil
	}
	at := fmt.Sprintf("metadata.annotations[%s]", AnnotationIssuer)
	switch {
	case len(validation.IsDNS1123Subdomain(value)) > 0:
		return []fault{{at, ReasonInvalidAnnotation, fmt.Sprintf(
			"%q is not the name of an Issuer, nor %q; no certificate is ordered", value, NoIssuer)}}
	case IsCertManagers(ing):
		return []fault{{at, ReasonTwoIssuers,
			"the Ingress has annotations of cert-manager, which makes its certificates; Fairway orders none. Remove theirs or this one"}}
	case len(SecretsOf(ing)) == 0:
		return []fault{{at, ReasonNoCertificateSecret,
			"a certificate is asked for and spec.tls names no Secret to keep it in; none is ordered. Give an entry of spec.tls a secretName"}}
	}
	return nil
}
