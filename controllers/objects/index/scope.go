package index

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/xds/route"
)

// Scope says which Ingresses are considered. The zero value considers all.
type Scope struct {
	// Controller is the value by which IngressClasses and Issuers are ours.
	Controller route.Controller
	// Namespaces selects Ingresses by the labels of their Namespace; nil selects
	// all.
	Namespaces labels.Selector
	// Classes, if there are any, are the only IngressClasses that can be ours.
	Classes []string
	// ClaimWithoutClasses makes every Ingress ours for as long as there is no
	// IngressClass at all. It is for a folder of manifests, and never for a
	// cluster.
	ClaimWithoutClasses bool
	// OneGateway makes the default gateway serve every class of ours. It is for a
	// process that runs one Envoy.
	OneGateway bool
}

// Namespace returns an empty object for reading Namespaces: only their metadata is
// read.
func Namespace() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return namespace
}

// SourceOfNamespaces returns the watches by which the selection of Namespaces
// wakes keys: none if all are selected. observer observes them; it may be nil.
func SourceOfNamespaces[K comparable](
	objects cache.Cache, scope Scope, keys watch.Keys[*networkingv1.Ingress, K],
	observer watch.Observer[*metav1.PartialObjectMetadata, K],
) []source.TypedSource[K] {
	if scope.Namespaces == nil {
		return nil
	}
	selected := func(namespace *metav1.PartialObjectMetadata) any {
		return scope.Namespaces.Matches(labels.Set(namespace.Labels))
	}
	all := Objects{Cluster: objects}
	return []source.TypedSource[K]{
		watch.ObservedSource(objects, Namespace(), selected, func(ctx context.Context, namespace *metav1.PartialObjectMetadata) ([]K, error) {
			ingresses, err := all.ingresses(ctx, client.InNamespace(namespace.Name))
			if err != nil {
				return nil, err
			}
			var found []K
			for _, ingress := range ingresses {
				its, err := keys(ctx, ingress)
				if err != nil {
					return found, err
				}
				found = append(found, its...)
			}
			return found, nil
		}, observer),
	}
}

// inScope returns the Ingresses whose Namespaces are selected.
func (o Objects) inScope(ctx context.Context, ingresses []*networkingv1.Ingress) ([]*networkingv1.Ingress, error) {
	if o.Namespaces == nil {
		return ingresses, nil
	}
	known := map[string]bool{}
	var found []*networkingv1.Ingress
	for _, ingress := range ingresses {
		selected, ok := known[ingress.Namespace]
		if !ok {
			var err error
			if selected, err = o.selects(ctx, ingress.Namespace); err != nil {
				return nil, err
			}
			known[ingress.Namespace] = selected
		}
		if selected {
			found = append(found, ingress)
		}
	}
	return found, nil
}

// Selects reports whether the Ingresses of a namespace are considered.
func (o Objects) Selects(ctx context.Context, namespace string) (bool, error) {
	if o.Namespaces == nil {
		return true, nil
	}
	return o.selects(ctx, namespace)
}

func (o Objects) selects(ctx context.Context, name string) (bool, error) {
	namespace := Namespace()
	switch err := o.Cluster.Get(ctx, client.ObjectKey{Name: name}, namespace, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err):
		return false, nil // its event comes
	case err != nil:
		return false, fmt.Errorf("get namespace %s: %w", name, err)
	}
	return o.Namespaces.Matches(labels.Set(namespace.Labels)), nil
}
