package servercert

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/xds/route"
)

// theDefault is the key of the default certificate.
var theDefault = Key{Host: route.AnyHost} // a constant

// Sources returns all that the reconciler watches, and the source of keys that it
// wants to look at again.
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

// Keys returns all keys under which something could be served now.
func (r *Reconciler) Keys(ctx context.Context) ([]Key, error) {
	ingresses, err := r.objects.Ingresses(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := r.keysOf(ctx, ingresses, route.TLSNamesOf)
	return append(keys, theDefault), err
}

func (r *Reconciler) ingressKeys(ctx context.Context, ingress *networkingv1.Ingress) ([]Key, error) {
	return r.keysOf(ctx, []*networkingv1.Ingress{ingress}, route.TLSNamesOf)
}

func (r *Reconciler) classKeys(ctx context.Context, class *networkingv1.IngressClass) ([]Key, error) {
	ingresses, err := r.objects.IngressesOfClass(ctx, class)
	if err != nil {
		return nil, err
	}
	return r.keysOf(ctx, ingresses, route.TLSNamesOf)
}

func (r *Reconciler) secretKeys(ctx context.Context, secret *corev1.Secret) ([]Key, error) {
	r.secrets.Saw(ctx, secret)
	name := types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
	ingresses, err := r.objects.IngressesOfSecret(ctx, name)
	if err != nil {
		return nil, err
	}
	keys, err := r.keysOf(ctx, ingresses, func(ingress *networkingv1.Ingress) []route.Hostname {
		return route.TLSNamesBySecret(ingress, secret.Name)
	})
	if name == r.options.Default {
		keys = append(keys, theDefault)
	}
	return keys, err
}

func (r *Reconciler) keysOf(
	ctx context.Context, ingresses []*networkingv1.Ingress, names func(*networkingv1.Ingress) []route.Hostname,
) ([]Key, error) {
	found, err := r.known.Keys(ctx, r.objects, ingresses, names)
	keys := make([]Key, len(found))
	for i, key := range found {
		keys[i] = Key(key)
	}
	return keys, err
}
