package snapshot

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/proxy/policy"
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

// Namespace returns the Namespace of that name.
func (r Reader) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	namespace := &corev1.Namespace{}
	switch err := r.Get(ctx, types.NamespacedName{Name: name}, namespace); {
	case apierrors.IsForbidden(err):
		return nil, &PermissionError{"get", "namespaces", name, err}
	case err != nil:
		return nil, fmt.Errorf("get namespace %s: %w", name, err)
	}
	return namespace, nil
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

// ClusterNetworkPolicies returns all of them, whichever of the versions that are understood the cluster has. There
// are none if it does not have their definition.
func (r Reader) ClusterNetworkPolicies(ctx context.Context) ([]*policyv1.ClusterNetworkPolicy, error) {
	var all []*policyv1.ClusterNetworkPolicy
	for _, kind := range policy.ClusterKinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		objects, err := r.list(ctx, list, "clusternetworkpolicies."+kind.Group, "")
		if err != nil {
			return nil, err
		}
		for _, object := range typed[*unstructured.Unstructured](objects) {
			var one policyv1.ClusterNetworkPolicy
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &one); err != nil {
				return nil, fmt.Errorf("read ClusterNetworkPolicy %s: %w", object.GetName(), err)
			}
			all = append(all, &one)
		}
		if len(all) > 0 {
			break // another version would have the same ones
		}
	}
	return all, nil
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
