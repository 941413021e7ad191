package ingress

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Informers are not in step: an Ingress may name a Service that is there but
// has not reached us yet. Where that would replace what is served by a 503, the
// API server itself is asked first.

// breaks says that host would answer 503 for want of a Service or a port, where
// something may be served now.
func (r *Reconciler) breaks(key route.Key, host *route.Host) bool {
	return r.Live != nil && host != nil && missesBackend(host) && r.Publisher.Host(key).Published
}

func missesBackend(host *route.Host) bool {
	for i := range host.Routes {
		if misses(&host.Routes[i]) {
			return true
		}
	}
	return false
}

func misses(r *route.Route) bool {
	return r.Cluster == nil && r.Reason == string(route.ReasonBackendNotFound)
}

// refresh brings the Services in objects for whose want host answers 503 to
// what the API server says of them.
func (r *Reconciler) refresh(ctx context.Context, host *route.Host, objects route.Objects) error {
	missing := map[types.NamespacedName]bool{}
	for i := range host.Routes {
		if misses(&host.Routes[i]) {
			missing[host.Routes[i].Origin] = true
		}
	}
	for _, ingress := range objects.Ingresses {
		if !missing[types.NamespacedName{Namespace: ingress.Namespace, Name: ingress.Name}] {
			continue
		}
		for _, name := range unresolved(ingress, objects.Services) {
			service, err := r.ask(ctx, name)
			if err != nil {
				return err
			}
			if service != nil {
				objects.Services[name] = service
			}
		}
	}
	return nil
}

// unresolved is the Services that lack what the Ingress asks of them.
func unresolved(
	ingress *networkingv1.Ingress, services map[types.NamespacedName]*corev1.Service,
) []types.NamespacedName {
	var names []types.NamespacedName
	for _, backend := range index.Backends(ingress) {
		name := types.NamespacedName{Namespace: ingress.Namespace, Name: backend.Name}
		if service := services[name]; service == nil || !index.Offers(service, backend.Port) {
			names = append(names, name)
		}
	}
	return names
}

// ask is the Service as the API server has it, nil if there is none.
func (r *Reconciler) ask(ctx context.Context, name types.NamespacedName) (*corev1.Service, error) {
	service := &corev1.Service{}
	switch err := r.Live.Get(ctx, name, service); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("ask for service %s: %w", name, err)
	}
	return service, nil
}
