package route

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairwaynet/fairway/api/problem"
)

// annotationPrefix begins the name of every annotation of Fairway.
const annotationPrefix = "fairway.dev/"

// AnnotationMaxRequestBody bounds the bodies of requests to an Ingress; its
// value is a quantity ("10Mi").
const AnnotationMaxRequestBody = annotationPrefix + "max-request-body"

// AnnotationSSLRedirect with the value "false" has requests over HTTP served
// like those over HTTPS. Without it they are redirected to HTTPS if the host is
// served over TLS.
const AnnotationSSLRedirect = annotationPrefix + "ssl-redirect"

// AnnotationRepeatedSlashes says how the backends of an Ingress see repeated slashes
// in paths: with "Keep" as they were sent, with "Merge" as one slash.
const AnnotationRepeatedSlashes = annotationPrefix + "repeated-slashes"

// options are the values of an Ingress's annotations.
type options struct {
	maxBody   int64
	plainHTTP bool

	repeatedSlashes RepeatedSlashes // empty: as the gateway has it

	ownHSTS   *HSTS // where hstsGiven; nil: no header
	hstsGiven bool

	client      *ClientPolicy // nil: none is asked for, or see clientBroken
	passthrough bool
	// clientBroken says that the Ingress asks for certificates of clients in a way
	// that cannot be understood. Then nothing may be served without them.
	clientBroken bool
}

// optionsOf reads the annotations of ing. An option whose value cannot be read
// stays at the gateway's default.
func optionsOf(ing *networkingv1.Ingress) (options, []fault) {
	var read options
	var faults []fault
	for name, value := range ing.Annotations {
		if !strings.HasPrefix(name, annotationPrefix) {
			continue
		}
		if reason, wrong := read.set(name, value); wrong != "" {
			faults = append(faults, fault{fmt.Sprintf("metadata.annotations[%s]", name), reason, wrong})
		}
	}
	var wrong []fault
	read.client, wrong = clientPolicyOf(ing)
	read.clientBroken = read.client == nil && len(wrong) > 0
	return read, append(faults, wrong...)
}

// set reads one annotation of Fairway. A message tells people what is wrong with its
// value, and which value holds instead.
func (o *options) set(name, value string) (reason problem.Reason, wrong string) {
	switch name {
	case AnnotationMaxRequestBody:
		size, ok := bytesOf(value)
		if !ok {
			return ReasonInvalidAnnotation, fmt.Sprintf("%q is not a number of bytes above 0, like \"10Mi\"; the gateway's own limit applies", value)
		}
		o.maxBody = size
	case AnnotationSSLRedirect:
		if value != "true" && value != "false" {
			return ReasonInvalidAnnotation, fmt.Sprintf("%q is neither \"true\" nor \"false\"; requests over HTTP are redirected", value)
		}
		o.plainHTTP = value == "false"
	case AnnotationRepeatedSlashes:
		choice := RepeatedSlashes(value)
		if !slices.Contains(RepeatedSlashesChoices(), choice) {
			return ReasonInvalidAnnotation, fmt.Sprintf("%q is none of %s; the gateway's own setting applies", value, List(RepeatedSlashesChoices()))
		}
		o.repeatedSlashes = choice
	case AnnotationHSTS:
		header, err := hstsOf(value)
		if err != nil {
			return ReasonInvalidAnnotation, fmt.Sprintf(
				"%q cannot be said in Strict-Transport-Security: %s; the gateway's own setting applies", value, err)
		}
		o.ownHSTS, o.hstsGiven = header, true
	case AnnotationTLSPassthrough:
		if value != "true" && value != "false" {
			return ReasonInvalidAnnotation, fmt.Sprintf("%q is neither \"true\" nor \"false\"; TLS ends at the gateway", value)
		}
		o.passthrough = value == "true"
	case AnnotationIssuer: // issuerFaultsOf
	case AnnotationClientCA, AnnotationClientCertificate: // read together
	default:
		return ReasonUnknownAnnotation, fmt.Sprintf("Fairway knows no annotation %q; it has no effect", name)
	}
	return "", ""
}

// bytesOf reads a whole, positive number of bytes.
func bytesOf(text string) (int64, bool) {
	quantity, err := resource.ParseQuantity(text)
	if err != nil {
		return 0, false
	}
	// Value rounds up, and is at its bound beyond it.
	size := quantity.Value()
	return size, size > 0 && quantity.CmpInt64(size) == 0
}
