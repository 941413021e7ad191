package services

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/proxy/service"
)

// kept are the Services and EndpointSlices that count: not those of other proxies, and not
// those without a cluster IP.
func kept() (labels.Selector, error) {
	selector := labels.NewSelector()
	for _, label := range []string{service.ProxyNameLabel, corev1.IsHeadlessService} {
		without, err := labels.NewRequirement(label, selection.DoesNotExist, nil)
		if err != nil {
			return nil, err
		}
		selector = selector.Add(*without)
	}
	return selector, nil
}

// Cached says what a cache keeps of Services and EndpointSlices: an agent has all of a
// cluster's that count.
func Cached() (map[client.Object]cache.ByObject, error) {
	selector, err := kept()
	if err != nil {
		return nil, err
	}
	return map[client.Object]cache.ByObject{
		&corev1.Service{}:            {Label: selector, Transform: trimService},
		&discoveryv1.EndpointSlice{}: {Label: selector, Transform: trimSlice},
	}, nil
}

func trimService(object any) (any, error) {
	s, ok := object.(*corev1.Service)
	if !ok {
		return object, nil // the notice of an event that the stream missed
	}
	s.ManagedFields, s.Annotations, s.Labels, s.OwnerReferences, s.Finalizers = nil, nil, nil, nil, nil
	s.Spec.Selector, s.Status.Conditions = nil, nil
	return s, nil
}

func trimSlice(object any) (any, error) {
	s, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return object, nil
	}
	s.ManagedFields, s.OwnerReferences, s.GenerateName = nil, nil, ""
	counts := map[string]string{discoveryv1.LabelServiceName: s.Labels[discoveryv1.LabelServiceName]}
	if at, told := s.Annotations[corev1.EndpointsLastChangeTriggerTime]; told {
		counts[corev1.EndpointsLastChangeTriggerTime] = at
	}
	s.Labels, s.Annotations = counts, counts // one map for both: of a large cluster there are many
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		e.Hostname, e.DeprecatedTopology, e.Zone = nil, nil, nil
		if e.TargetRef != nil {
			e.TargetRef = &corev1.ObjectReference{UID: e.TargetRef.UID}
		}
	}
	return s, nil
}
