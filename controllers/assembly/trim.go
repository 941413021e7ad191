package assembly

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Reads says which optional parts of objects a part reads. A cache drops what no
// part of its process reads, because a cluster has many more Services and
// EndpointSlices than any part serves.
type Reads struct {
	// Owners, if not nil, keeps in an object what the part needs of the managed
	// fields. The object no longer has them when it is called.
	Owners func(client.Object, []metav1.ManagedFieldsEntry)
	// ServiceStatus is the status of Services, which holds the addresses of load
	// balancers.
	ServiceStatus bool
	// EndpointNodes is the node of each endpoint, EndpointTargets its Pod.
	EndpointNodes, EndpointTargets bool
}

// Trim returns a cache's transform function that keeps what the parts read.
func Trim(parts ...Reads) toolscache.TransformFunc {
	var all Reads
	var owners []func(client.Object, []metav1.ManagedFieldsEntry)
	for _, part := range parts {
		if part.Owners != nil {
			owners = append(owners, part.Owners)
		}
		all.ServiceStatus = all.ServiceStatus || part.ServiceStatus
		all.EndpointNodes = all.EndpointNodes || part.EndpointNodes
		all.EndpointTargets = all.EndpointTargets || part.EndpointTargets
	}
	all.Owners = func(object client.Object, managed []metav1.ManagedFieldsEntry) {
		for _, keep := range owners {
			keep(object, managed)
		}
	}
	return all.trim
}

func (r Reads) trim(object any) (any, error) {
	o, ok := object.(client.Object)
	if !ok {
		return object, nil // the notice of an event that the stream missed: as it is
	}
	managed := o.GetManagedFields()
	o.SetManagedFields(nil)
	delete(o.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
	r.Owners(o, managed)
	switch o := o.(type) {
	case *metav1.PartialObjectMetadata:
		o.Annotations = nil
	case *corev1.Service:
		if !r.ServiceStatus {
			o.Status = corev1.ServiceStatus{}
		}
	case *discoveryv1.EndpointSlice:
		o.Annotations = nil
		r.trimEndpoints(o.Endpoints)
	}
	return o, nil
}

func (r Reads) trimEndpoints(endpoints []discoveryv1.Endpoint) {
	for i := range endpoints {
		if !r.EndpointTargets {
			endpoints[i].TargetRef = nil
		}
		if !r.EndpointNodes {
			endpoints[i].NodeName = nil
		}
	}
}
