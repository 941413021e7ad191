package endpoints

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/xds/route"
)

// Sources returns all that the reconciler watches.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[route.ServicePort] {
	return append(index.SourceOfNamespaces(objects, r.objects.Scope, r.ingressKeys, nil),
		watch.Source(objects, &discoveryv1.EndpointSlice{}, watch.EndpointSlice, r.sliceKeys),
		watch.Source(objects, &corev1.Service{}, watch.Service, r.serviceKeys),
		watch.Source(objects, &networkingv1.Ingress{}, watch.Ingress, r.ingressKeys),
		watch.Source(objects, &networkingv1.IngressClass{}, watch.IngressClass, r.classKeys),
	)
}

// Keys returns all ports that could be published now.
func (r *Reconciler) Keys(ctx context.Context) ([]route.ServicePort, error) {
	ingresses, err := r.objects.Ingresses(ctx)
	if err != nil {
		return nil, err
	}
	return r.portsOfAll(ctx, ingresses)
}

func (r *Reconciler) ingressKeys(ctx context.Context, ingress *networkingv1.Ingress) ([]route.ServicePort, error) {
	r.live.Forget(ingress.Namespace)
	return r.portsOfAll(ctx, []*networkingv1.Ingress{ingress})
}

func (r *Reconciler) classKeys(ctx context.Context, class *networkingv1.IngressClass) ([]route.ServicePort, error) {
	ingresses, err := r.objects.IngressesOfClass(ctx, class)
	if err != nil {
		return nil, err
	}
	return r.portsOfAll(ctx, ingresses)
}

// serviceKeys returns the ports of the Service as it is given: of an old version,
// the cache no longer knows them.
func (r *Reconciler) serviceKeys(ctx context.Context, service *corev1.Service) ([]route.ServicePort, error) {
	r.live.Forget(service.Namespace)
	name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	concerned, err := r.concerns(ctx, name)
	if err != nil || !concerned {
		return nil, err
	}
	return append(index.Ports(service), r.published.of(name)...), nil
}

func (r *Reconciler) sliceKeys(ctx context.Context, slice *discoveryv1.EndpointSlice) ([]route.ServicePort, error) {
	r.live.Forget(slice.Namespace)
	name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
	concerned, err := r.concerns(ctx, name)
	if err != nil || !concerned {
		return nil, err
	}
	return r.portsOf(ctx, name)
}

// concerns reports whether a Service is any of our concern. Most Services of a
// cluster are not, and cost only this look.
func (r *Reconciler) concerns(ctx context.Context, service types.NamespacedName) (bool, error) {
	if len(r.published.of(service)) > 0 {
		return true, nil
	}
	ingresses, err := r.objects.IngressesOfService(ctx, service)
	return len(ingresses) > 0, err
}

// portsOfAll returns the ports of all Services that the Ingresses name. It looks
// at each Service once.
func (r *Reconciler) portsOfAll(
	ctx context.Context, ingresses []*networkingv1.Ingress,
) ([]route.ServicePort, error) {
	var ports []route.ServicePort
	seen := map[types.NamespacedName]bool{}
	for _, ingress := range ingresses {
		for _, service := range route.ServicesOf(ingress) {
			if seen[service] {
				continue
			}
			seen[service] = true
			found, err := r.portsOf(ctx, service)
			if err != nil {
				return nil, err
			}
			ports = append(ports, found...)
		}
	}
	return ports, nil
}

// portsOf returns the ports that the Service has, and the ports of it that are
// published.
func (r *Reconciler) portsOf(ctx context.Context, name types.NamespacedName) ([]route.ServicePort, error) {
	ports := r.published.of(name)
	service, err := r.objects.Service(ctx, name)
	if err != nil || service == nil {
		return ports, err
	}
	return append(ports, index.Ports(service)...), nil
}
