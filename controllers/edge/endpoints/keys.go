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

// Sources is all that the reconciler watches.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[route.ServicePort] {
	return append(index.SourceOfNamespaces(objects, r.objects.Scope, r.ingressKeys, nil),
		watch.Source(objects, &discoveryv1.EndpointSlice{}, watch.EndpointSlice, r.sliceKeys),
		watch.Source(objects, &corev1.Service{}, watch.Service, r.serviceKeys),
		watch.Source(objects, &networkingv1.Ingress{}, watch.Ingress, r.ingressKeys),
		watch.Source(objects, &networkingv1.IngressClass{}, watch.IngressClass, r.classKeys),
	)
}

// Keys is all ports that could be published now.
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

// serviceKeys is the ports of the Service as it is given, since the cache knows
// only what it has become.
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

// concerns says whether a Service has anything to do with us. Most of a
// cluster's have not, and cost this look.
func (r *Reconciler) concerns(ctx context.Context, service types.NamespacedName) (bool, error) {
	if len(r.published.of(service)) > 0 {
		return true, nil
	}
	ingresses, err := r.objects.IngressesOfService(ctx, service)
	return len(ingresses) > 0, err
}

// portsOfAll is the ports of all Services that the Ingresses name, each Service
// once.
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

// portsOf is the ports that the Service has and those published of it.
func (r *Reconciler) portsOf(ctx context.Context, name types.NamespacedName) ([]route.ServicePort, error) {
	ports := r.published.of(name)
	service, err := r.objects.Service(ctx, name)
	if err != nil || service == nil {
		return ports, err
	}
	return append(ports, index.Ports(service)...), nil
}
