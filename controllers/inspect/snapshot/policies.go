package snapshot

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Pod returns the pod of that name.
func (r Reader) Pod(ctx context.Context, name types.NamespacedName) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	switch err := r.Get(ctx, name, pod); {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no pod %s", name)
	case apierrors.IsForbidden(err):
		return nil, &PermissionError{"get", "pods", name.Namespace, err}
	case err != nil:
		return nil, fmt.Errorf("get pod %s: %w", name, err)
	}
	return pod, nil
}

// AllPods returns all pods.
func (r Reader) AllPods(ctx context.Context) ([]*corev1.Pod, error) {
	return r.pods(ctx, "", func(*corev1.Pod) bool { return true })
}

// Namespaces returns all Namespaces.
func (r Reader) Namespaces(ctx context.Context) ([]*corev1.Namespace, error) {
	objects, err := r.list(ctx, &corev1.NamespaceList{}, "namespaces", "")
	return typed[*corev1.Namespace](objects), err
}

// NetworkPolicies returns those of a namespace, or of all if it is empty.
func (r Reader) NetworkPolicies(ctx context.Context, namespace string) ([]*networkingv1.NetworkPolicy, error) {
	objects, err := r.list(ctx, &networkingv1.NetworkPolicyList{}, "networkpolicies.networking.k8s.io", namespace)
	return typed[*networkingv1.NetworkPolicy](objects), err
}

// typed returns the objects of one type.
func typed[T client.Object](objects []client.Object) []T {
	var all []T
	for _, object := range objects {
		if one, ok := object.(T); ok {
			all = append(all, one)
		}
	}
	return all
}
