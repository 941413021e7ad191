package ingress

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Informers are not in step: an Ingress may name a Service that is there but
// has not reached us yet, or have left one that is gone already. Where that
// would replace what is served by a 503, the API server itself is asked first.

// breaks says that host would answer 503 for want of a Service or a port, where
// something may be served now.
func (r *Reconciler) breaks(key route.Key, host *route.Host) bool {
	return r.Live != nil && host != nil && missesBackend(host) && r.Publisher.Host(key).Published
}

func missesBackend(host *route.Host) bool {
	return slices.ContainsFunc(host.Routes, func(r route.Route) bool { return misses(&r) })
}

func misses(r *route.Route) bool {
	return r.Cluster == nil && r.Reason == string(route.ReasonBackendNotFound)
}

// refresh is objects with the Ingresses for whose backends host answers 503, and
// then the Services that those still miss, as the API server has them.
func (r *Reconciler) refresh(ctx context.Context, host *route.Host, objects route.Objects) (route.Objects, error) {
	classes, err := r.Objects.Classes(ctx)
	if err != nil {
		return route.Objects{}, err
	}
	fresh := objects
	fresh.Ingresses = nil
	for _, ingress := range objects.Ingresses {
		if name := client.ObjectKeyFromObject(ingress); missesBackendOf(host, name) {
			if ingress, err = r.ingress(ctx, name); err != nil {
				return route.Objects{}, err
			}
			if !serves(classes, host.Key.Gateway, ingress) {
				continue
			}
			if err := r.addServices(ctx, ingress, fresh.Services); err != nil {
				return route.Objects{}, err
			}
		}
		fresh.Ingresses = append(fresh.Ingresses, ingress)
	}
	return fresh, nil
}

// serves says that there is the Ingress, and that it belongs to the gateway.
func serves(classes route.Classes, gateway route.Gateway, ingress *networkingv1.Ingress) bool {
	if ingress == nil {
		return false
	}
	its, ours := classes.Gateway(ingress)
	return ours && its == gateway
}

func missesBackendOf(host *route.Host, ingress types.NamespacedName) bool {
	return slices.ContainsFunc(host.Routes, func(r route.Route) bool { return misses(&r) && r.Origin == ingress })
}

// addServices adds to services those that the Ingress names and that are not
// among them, or lack the port.
func (r *Reconciler) addServices(
	ctx context.Context, ingress *networkingv1.Ingress, services map[types.NamespacedName]*corev1.Service,
) error {
	for _, name := range unresolved(ingress, services) {
		service, err := r.service(ctx, name)
		if err != nil {
			return err
		}
		if service != nil {
			services[name] = service
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

// ingress is the Ingress as the API server has it, nil if there is none.
func (r *Reconciler) ingress(ctx context.Context, name types.NamespacedName) (*networkingv1.Ingress, error) {
	ingress := &networkingv1.Ingress{}
	switch err := r.Live.Get(ctx, name, ingress); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("ask for ingress %s: %w", name, err)
	}
	return ingress, nil
}

// service is the Service as the API server has it, nil if there is none.
func (r *Reconciler) service(ctx context.Context, name types.NamespacedName) (*corev1.Service, error) {
	service := &corev1.Service{}
	switch err := r.Live.Get(ctx, name, service); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("ask for service %s: %w", name, err)
	}
	return service, nil
}
