package order

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/controllers/replicas/leaderelected"
)

// Workers is how many reconcile at once. An order that waits for an authority
// holds a worker; Limiter bounds how many do.
const Workers = 64

// Controller runs Reconcilers.
type Controller = leaderelected.Controller[Key]

// TermReconciler is a Reconciler as a Controller runs it.
type TermReconciler = leaderelected.Reconciler[Key]

// Watch has a Controller watch Ingresses and the objects that decide about them.
func Watch(ctx context.Context, c *Controller, objects cache.Cache, from index.Objects) error {
	ingress := func(ctx context.Context, ing *networkingv1.Ingress) ([]Key, error) { return keysOf(ctx, from, ing) }
	class := func(ctx context.Context, class *networkingv1.IngressClass) ([]Key, error) {
		ingresses, err := from.IngressesOfClass(ctx, class)
		return keysOfAll(ctx, from, ingresses, err)
	}
	secret := func(ctx context.Context, secret *corev1.Secret) ([]Key, error) {
		key := Key{Namespace: secret.Namespace, Name: secret.Name}
		ingresses, err := from.IngressesOfSecret(ctx, key)
		if err != nil || len(ingresses) == 0 {
			return nil, err
		}
		return []Key{key}, nil
	}
	version := func(secret *corev1.Secret) any { return secret.ResourceVersion }
	err := errors.Join(
		leaderelected.Watch(ctx, c, objects, &networkingv1.Ingress{}, watch.Ingress, ingress),
		leaderelected.Watch(ctx, c, objects, &networkingv1.IngressClass{}, watch.IngressClass, class),
		leaderelected.Watch(ctx, c, objects, &corev1.Secret{}, version, secret),
	)
	if from.Namespaces == nil {
		return err
	}
	selected := func(namespace *metav1.PartialObjectMetadata) any {
		return from.Namespaces.Matches(labels.Set(namespace.Labels))
	}
	return errors.Join(err, leaderelected.Watch(ctx, c, objects, index.Namespace(), selected, everyKey[*metav1.PartialObjectMetadata](from)))
}

// WatchCustom returns functions that have a Controller watch our own kinds. A
// cluster may lack each of them yet: that is an error.
func WatchCustom(c *Controller, objects cache.Cache, from index.Objects) []func(context.Context) error {
	return []func(context.Context) error{
		func(ctx context.Context) error {
			return leaderelected.Watch(ctx, c, objects, &v1alpha1.Issuer{}, watch.Issuer, everyKey[*v1alpha1.Issuer](from))
		},
		func(ctx context.Context) error {
			return leaderelected.Watch(ctx, c, objects, &v1alpha1.GatewayConfig{}, watch.GatewayConfig, everyKey[*v1alpha1.GatewayConfig](from))
		},
		func(ctx context.Context) error {
			return leaderelected.Watch(ctx, c, objects, &v1alpha1.ClusterGatewayConfig{}, watch.ClusterGatewayConfig, everyKey[*v1alpha1.ClusterGatewayConfig](from))
		},
	}
}

// everyKey returns all Secrets that any Ingress names. It is for objects that
// decide about many.
func everyKey[O any](from index.Objects) func(context.Context, O) ([]Key, error) {
	return func(ctx context.Context, _ O) ([]Key, error) {
		ingresses, err := from.Ingresses(ctx)
		var keys []Key
		for _, ing := range ingresses {
			keys = append(keys, secretsOf(ing)...)
		}
		return unique(keys), err
	}
}

func keysOfAll(ctx context.Context, from index.Objects, ingresses []*networkingv1.Ingress, err error) ([]Key, error) {
	var keys []Key
	for _, ing := range ingresses {
		its, wrong := keysOf(ctx, from, ing)
		keys, err = append(keys, its...), errors.Join(err, wrong)
	}
	return unique(keys), err
}
