package ingress

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/controllers/watch"
	"github.com/fairwaynet/fairway/xds/route"
)

// Sources is all that the reconciler watches. EndpointSlices are not among
// them: they change no route.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[route.Key] {
	return append(index.SourceOfNamespaces(objects, r.Objects.Scope, r.ingressKeys),
		watch.Source(objects, &networkingv1.Ingress{}, watch.Ingress, r.ingressKeys),
		watch.Source(objects, &networkingv1.IngressClass{}, watch.IngressClass, r.classKeys),
		watch.Source(objects, &corev1.Service{}, watch.Service, r.serviceKeys),
	)
}

// Keys is all keys under which something could be served now.
func (r *Reconciler) Keys(ctx context.Context) ([]route.Key, error) {
	ingresses, err := r.Objects.Ingresses(ctx)
	if err != nil {
		return nil, err
	}
	return r.keysOf(ingresses, route.HostsOf), nil
}

// ingressKeys asks for no class: at the time of the event the classes that
// decided may be gone.
func (r *Reconciler) ingressKeys(_ context.Context, ingress *networkingv1.Ingress) ([]route.Key, error) {
	return r.keysOf([]*networkingv1.Ingress{ingress}, route.HostsOf), nil
}

func (r *Reconciler) classKeys(ctx context.Context, class *networkingv1.IngressClass) ([]route.Key, error) {
	ingresses, err := r.Objects.IngressesOfClass(ctx, class)
	return r.keysOf(ingresses, route.HostsOf), err
}

func (r *Reconciler) serviceKeys(ctx context.Context, service *corev1.Service) ([]route.Key, error) {
	name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	ingresses, err := r.Objects.IngressesOfService(ctx, name)
	return r.keysOf(ingresses, func(ingress *networkingv1.Ingress) []route.Hostname {
		return index.HostsOf(ingress, name)
	}), err
}

// keysOf is those hosts of the Ingresses on every gateway, each once.
func (r *Reconciler) keysOf(
	ingresses []*networkingv1.Ingress, hosts func(*networkingv1.Ingress) []route.Hostname,
) []route.Key {
	var keys []route.Key
	seen := map[route.Hostname]bool{}
	for _, ingress := range ingresses {
		for _, host := range hosts(ingress) {
			if seen[host] {
				continue
			}
			seen[host] = true
			for _, gateway := range r.Gateways {
				keys = append(keys, route.Key{Gateway: gateway, Host: host})
			}
		}
	}
	return keys
}
