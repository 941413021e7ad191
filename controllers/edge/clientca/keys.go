package clientca

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/xds/route"
)

// Sources returns all that the reconciler watches.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[Key] {
	return append(index.SourceOfNamespaces(objects, r.objects.Scope, r.ingressKeys, nil),
		source.TypedFunc[Key](r.start),
		watch.Source(objects, &networkingv1.Ingress{}, watch.Ingress, r.ingressKeys),
		watch.Source(objects, &networkingv1.IngressClass{}, watch.IngressClass, r.classKeys),
		watch.Source(objects, &corev1.Secret{}, watch.Secret, r.secretKeys),
	)
}

func (r *Reconciler) start(_ context.Context, queue workqueue.TypedRateLimitingInterface[Key]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = queue
	return nil
}

// Keys returns all Secrets that Ingresses name as a client CA.
func (r *Reconciler) Keys(ctx context.Context) ([]Key, error) {
	ingresses, err := r.objects.Ingresses(ctx)
	return keysOf(ingresses), err
}

func (r *Reconciler) ingressKeys(_ context.Context, ingress *networkingv1.Ingress) ([]Key, error) {
	return keysOf([]*networkingv1.Ingress{ingress}), nil
}

func (r *Reconciler) classKeys(ctx context.Context, class *networkingv1.IngressClass) ([]Key, error) {
	ingresses, err := r.objects.IngressesOfClass(ctx, class)
	return keysOf(ingresses), err
}

func (r *Reconciler) secretKeys(ctx context.Context, secret *corev1.Secret) ([]Key, error) {
	r.secrets.Saw(ctx, secret)
	key := Key(client.ObjectKeyFromObject(secret))
	if r.knows(key) {
		return []Key{key}, nil
	}
	ingresses, err := r.objects.IngressesOfSecret(ctx, types.NamespacedName(key))
	for _, named := range keysOf(ingresses) {
		if named == key {
			return []Key{key}, err
		}
	}
	return nil, err
}

func keysOf(ingresses []*networkingv1.Ingress) []Key {
	var keys []Key
	for _, ingress := range ingresses {
		if ca, named := route.ClientCAOf(ingress); named {
			keys = append(keys, Key(ca))
		}
	}
	return keys
}
