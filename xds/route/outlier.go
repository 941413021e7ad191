package route

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
)

// AnnotationOutlierDetection of a Service with the value "off" has none of its
// endpoints set aside. "on" is the default: the gateway's settings decide.
const AnnotationOutlierDetection = annotationPrefix + "outlier-detection"

// withOutlierDetection is a target of a Service with the outlier detection of its annotation.
func (t target) withOutlierDetection(service *corev1.Service) target {
	switch value, said := service.Annotations[AnnotationOutlierDetection]; {
	case !said || value == "on":
	case value != "off":
		wrong := wrongOption(AnnotationOutlierDetection, fmt.Sprintf("%q is neither \"on\" nor \"off\"; the gateway's own setting applies", value))
		name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
		t.problems = append(t.problems, wrong.in(problem.Object{Kind: "Service", Name: name}, ""))
	case t.cluster != nil:
		t.cluster.EndpointsStay = true
	}
	return t
}
