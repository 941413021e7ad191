package route

import (
	"fmt"
	"net/url"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The annotations by which an Ingress demands certificates of clients.
const (
	// AnnotationClientCA names the Secret of the Ingress's namespace whose
	// ca.crt holds the authorities that sign the certificates of clients.
	AnnotationClientCA = annotationPrefix + "client-ca"
	// AnnotationClientCertificate says whether a client has to have one:
	// ClientRequired, which is the default, or ClientOptional.
	AnnotationClientCertificate = annotationPrefix + "client-certificate"
)

// The values of AnnotationClientCertificate.
const (
	ClientRequired = "Required"
	ClientOptional = "Optional"
)

// ClientPolicy is a host's demand on the certificates of clients. It is comparable;
// the zero value demands nothing.
type ClientPolicy struct {
	// CA is the Secret with the authorities that sign them.
	CA types.NamespacedName
	// Required refuses clients without a certificate. A certificate that none of the
	// authorities has signed is refused either way.
	Required bool
}

// String is "shop/staff-ca required". Different policies have different strings,
// whatever their parts hold.
func (p ClientPolicy) String() string {
	demand := " optional"
	if p.Required {
		demand = " required"
	}
	return url.PathEscape(p.CA.Namespace) + "/" + url.PathEscape(p.CA.Name) + demand
}

// ClientCAOf is the Secret by which ing wants clients to be verified, if it
// names one.
func ClientCAOf(ing *networkingv1.Ingress) (types.NamespacedName, bool) {
	name, set := ing.Annotations[AnnotationClientCA]
	if !set || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: ing.Namespace, Name: name}, true
}

// FieldOfAnnotation is the field of an object that holds an annotation.
func FieldOfAnnotation(name string) string { return fmt.Sprintf("metadata.annotations[%s]", name) }

// clientPolicyOf reads the demand of ing on clients. A mistake never leads to less
// than was meant: if there are faults and no policy, one was asked for.
func clientPolicyOf(ing *networkingv1.Ingress) (*ClientPolicy, []fault) {
	mode, hasMode := ing.Annotations[AnnotationClientCertificate]
	name, hasCA := ing.Annotations[AnnotationClientCA]
	if !hasCA && !hasMode {
		return nil, nil
	}
	ca, valid := ClientCAOf(ing)
	switch {
	case !hasCA:
		return nil, []fault{{FieldOfAnnotation(AnnotationClientCertificate), ReasonInvalidAnnotation, fmt.Sprintf(
			"no annotation %s names the Secret with the authorities of clients; the rules are answered 503", AnnotationClientCA)}}
	case !valid:
		return nil, []fault{{FieldOfAnnotation(AnnotationClientCA), ReasonInvalidAnnotation, fmt.Sprintf(
			"%q is not the name of a Secret; the rules are answered 503", name)}}
	}
	policy := &ClientPolicy{CA: ca, Required: mode != ClientOptional}
	if hasMode && mode != ClientRequired && mode != ClientOptional {
		return policy, []fault{{FieldOfAnnotation(AnnotationClientCertificate), ReasonInvalidAnnotation, fmt.Sprintf(
			"%q is neither %q nor %q; a certificate is required", mode, ClientRequired, ClientOptional)}}
	}
	return policy, nil
}
