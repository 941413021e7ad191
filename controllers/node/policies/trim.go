package policies

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Cached says what a cache keeps of the objects that policies are about: an agent has all of a cluster's.
func Cached() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Pod{}:                 {Transform: trimPod},
		&corev1.Namespace{}:           {Transform: trimNamespace},
		&networkingv1.NetworkPolicy{}: {Transform: trimPolicy},
	}
}

func trimPod(object any) (any, error) {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil // the notice of an event that the stream missed
	}
	with := &corev1.Pod{ObjectMeta: trimMeta(p.ObjectMeta)}
	with.Labels, with.DeletionTimestamp, with.CreationTimestamp = p.Labels, p.DeletionTimestamp, p.CreationTimestamp
	if uid, static := p.Annotations[corev1.MirrorPodAnnotationKey]; static {
		with.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: uid}
	}
	with.Spec.NodeName, with.Spec.HostNetwork = p.Spec.NodeName, p.Spec.HostNetwork
	with.Spec.Containers, with.Spec.InitContainers = trimContainers(p.Spec.Containers), trimContainers(p.Spec.InitContainers)
	with.Status.Phase, with.Status.PodIPs = p.Status.Phase, p.Status.PodIPs
	return with, nil
}

// trimContainers keeps the ports that have names.
func trimContainers(all []corev1.Container) []corev1.Container {
	var kept []corev1.Container
	for _, c := range all {
		var ports []corev1.ContainerPort
		for _, port := range c.Ports {
			if port.Name != "" {
				ports = append(ports, corev1.ContainerPort{Name: port.Name, ContainerPort: port.ContainerPort, Protocol: port.Protocol})
			}
		}
		if len(ports) > 0 {
			kept = append(kept, corev1.Container{Ports: ports, RestartPolicy: c.RestartPolicy})
		}
	}
	return kept
}

func trimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
}

func trimNamespace(object any) (any, error) {
	n, ok := object.(*corev1.Namespace)
	if !ok {
		return object, nil
	}
	with := &corev1.Namespace{ObjectMeta: trimMeta(n.ObjectMeta)}
	with.Labels = n.Labels
	return with, nil
}

func trimPolicy(object any) (any, error) {
	p, ok := object.(*networkingv1.NetworkPolicy)
	if !ok {
		return object, nil
	}
	return &networkingv1.NetworkPolicy{ObjectMeta: trimMeta(p.ObjectMeta), Spec: p.Spec}, nil
}
