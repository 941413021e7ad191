package controllers

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/status"
)

// Trim takes from an object what nobody here reads, before a cache keeps it: a
// cluster has many more Services and EndpointSlices than are routed to. It is a
// cache's transform function.
func Trim(object any) (any, error) {
	o, ok := object.(client.Object)
	if !ok {
		return object, nil // of what a stream missed, as it is
	}
	managed := o.GetManagedFields()
	o.SetManagedFields(nil)
	delete(o.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
	switch o := o.(type) {
	case *metav1.PartialObjectMetadata:
		o.Annotations = nil
	case *networkingv1.Ingress:
		status.Keep(o, managed)
	case *corev1.Service:
		o.Status = corev1.ServiceStatus{}
	case *discoveryv1.EndpointSlice:
		o.Annotations = nil
		for i := range o.Endpoints {
			o.Endpoints[i].TargetRef = nil
			o.Endpoints[i].NodeName = nil
		}
	}
	return o, nil
}
