package ingress

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/xds/route"
)

// Sources returns all that the reconciler watches. It does not watch
// EndpointSlices: they change no route.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[route.Key] {
	heard := r.observers()
	sources := append(index.SourceOfNamespaces(objects, r.Objects.Scope, r.ingressKeys, heard.namespace),
		watch.ObservedSource(objects, &networkingv1.Ingress{}, watch.Ingress, r.ingressKeys, heard.ingress),
		watch.ObservedSource(objects, &networkingv1.IngressClass{}, watch.IngressClass, r.classKeys, heard.class),
		watch.Source(objects, &corev1.Service{}, watch.Service, r.serviceKeys),
	)
	if r.Challenges != nil {
		sources = append(sources, r.Challenges.Source())
	}
	return sources
}

// Keys returns all keys under which something could be served now.
func (r *Reconciler) Keys(ctx context.Context) ([]route.Key, error) {
	ingresses, err := r.Objects.Ingresses(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := r.keysOf(ctx, ingresses, route.HostsOf)
	return append(keys, r.Challenges.Keys()...), err
}

func (r *Reconciler) ingressKeys(ctx context.Context, ingress *networkingv1.Ingress) ([]route.Key, error) {
	r.Live.Forget(ingress.Namespace)
	return r.keysOf(ctx, []*networkingv1.Ingress{ingress}, route.HostsOf)
}

func (r *Reconciler) classKeys(ctx context.Context, class *networkingv1.IngressClass) ([]route.Key, error) {
	ingresses, err := r.Objects.IngressesOfClass(ctx, class)
	if err != nil {
		return nil, err
	}
	return r.keysOf(ctx, ingresses, route.HostsOf)
}

func (r *Reconciler) serviceKeys(ctx context.Context, service *corev1.Service) ([]route.Key, error) {
	r.Live.Forget(service.Namespace)
	name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	ingresses, err := r.Objects.IngressesOfService(ctx, name)
	if err != nil {
		return nil, err
	}
	return r.keysOf(ctx, ingresses, func(ingress *networkingv1.Ingress) []route.Hostname {
		return index.HostsOf(ingress, name)
	})
}

func (r *Reconciler) keysOf(
	ctx context.Context, ingresses []*networkingv1.Ingress, hosts func(*networkingv1.Ingress) []route.Hostname,
) ([]route.Key, error) {
	keys, err := r.known.Keys(ctx, r.Objects, ingresses, hosts)
	return r.Challenges.Below(keys, func(yield func(route.Hostname) bool) {
		for _, ingress := range ingresses {
			for _, host := range hosts(ingress) {
				if !yield(host) {
					return
				}
			}
		}
	}), err
}
