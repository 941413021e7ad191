package ingress

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Informers are not in step: an Ingress may name a Service that is there but
// has not reached us yet, or have left one that is gone already. Where that
// would replace a route that works by a 503, the API server itself is asked first.
// What is published says which routes work, so that nothing is asked twice: a
// route that was found to answer 503 does not work any more.

// published is what serves requests for the host of key now: its own routes, or
// those of a wildcard or of the default host.
func (r *Reconciler) published(key route.Key) *route.Host {
	for _, k := range append([]route.Key{key}, challenge.Wider(key)...) {
		if state := r.Publisher.Host(k); state.Published {
			return state.Value
		}
	}
	return nil
}

// refresh is objects with the Ingresses whose routes break, and the Services to
// which they lead, as the API server has them.
func (r *Reconciler) refresh(
	ctx context.Context, host *route.Host, broken map[route.Match]bool, objects route.Objects,
) (route.Objects, error) {
	classes, err := r.Objects.Classes(ctx)
	if err != nil {
		return route.Objects{}, err
	}
	fresh := objects
	var suspects map[string][]*networkingv1.Ingress
	suspects, fresh.Ingresses = split(objects.Ingresses, host, broken)
	for namespace, cached := range suspects {
		found, services, err := r.Live.Backends(ctx, namespace, cached, func(ingress *networkingv1.Ingress) []string {
			if !serves(classes, host.Key.Gateway, ingress) {
				return nil
			}
			return wanted(ingress, host.Key.Host, cached, broken, objects.Services)
		})
		if err != nil {
			return route.Objects{}, err
		}
		for _, ingress := range found {
			if serves(classes, host.Key.Gateway, ingress) {
				fresh.Ingresses = append(fresh.Ingresses, ingress)
			}
		}
		for name, service := range services {
			fresh.Services[types.NamespacedName{Namespace: namespace, Name: name}] = service
		}
	}
	return fresh, nil
}

// split parts Ingresses by whether routes of theirs break: those of which some do
// by namespace, and the others.
func split(
	ingresses []*networkingv1.Ingress, host *route.Host, broken map[route.Match]bool,
) (suspects map[string][]*networkingv1.Ingress, others []*networkingv1.Ingress) {
	origins := map[types.NamespacedName]bool{}
	for i := range host.Routes {
		if broken[host.Routes[i].Match] {
			origins[host.Routes[i].Origin] = true
		}
	}
	suspects = map[string][]*networkingv1.Ingress{}
	for _, ingress := range ingresses {
		if origins[client.ObjectKeyFromObject(ingress)] {
			suspects[ingress.Namespace] = append(suspects[ingress.Namespace], ingress)
		} else {
			others = append(others, ingress)
		}
	}
	return suspects, others
}

// wanted is the names of the Services that routes which break would need: of an
// Ingress that is as it was, those of these routes; of one that has changed, all
// that it names for the host and that lack what it asks of them.
func wanted(
	ingress *networkingv1.Ingress, host route.Hostname, cached []*networkingv1.Ingress, broken map[route.Match]bool,
	services map[types.NamespacedName]*corev1.Service,
) []string {
	same := slices.ContainsFunc(cached, func(c *networkingv1.Ingress) bool {
		return c.UID == ingress.UID && c.Name == ingress.Name && c.ResourceVersion == ingress.ResourceVersion
	})
	lacking := unresolved(ingress, services)
	var names []string
	for _, name := range route.ServicesAt(ingress, host, func(match route.Match) bool { return !same || broken[match] }) {
		if lacking[name] {
			names = append(names, name.Name)
		}
	}
	return names
}

// unresolved is the Services that lack what the Ingress asks of them.
func unresolved(
	ingress *networkingv1.Ingress, services map[types.NamespacedName]*corev1.Service,
) map[types.NamespacedName]bool {
	names := map[types.NamespacedName]bool{}
	for _, backend := range index.Backends(ingress) {
		name := types.NamespacedName{Namespace: ingress.Namespace, Name: backend.Name}
		if service := services[name]; service == nil || !index.Offers(service, backend.Port) {
			names[name] = true
		}
	}
	return names
}

// serves says that there is the Ingress, and that it belongs to the gateway.
func serves(classes route.Classes, gateway route.Gateway, ingress *networkingv1.Ingress) bool {
	if ingress == nil {
		return false
	}
	its, ours := classes.Gateway(ingress)
	return ours && its == gateway
}
