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

// Informers are not in step. An Ingress may name a Service that exists but has not
// reached us yet, or one that is gone while the Ingress's own change is still on
// its way. Where that would replace a working route by a 503, the API server
// itself is asked first. The published host says which routes work, so nothing is
// asked twice: once a route was found to answer 503, it no longer works.

// published returns what serves requests for the host of key now: its own routes,
// or those of a wildcard or of the default host.
func (r *Reconciler) published(key route.Key) *route.Host {
	for _, k := range append([]route.Key{key}, challenge.Wider(key)...) {
		if state := r.Publisher.Host(k); state.Published {
			return state.Value
		}
	}
	return nil
}

// refresh returns objects after reading from the API server the Ingresses whose
// routes break and the Services to which they lead.
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

// split divides Ingresses by whether any of their routes breaks: suspects have
// one, by namespace; others have none.
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

// wanted returns the names of the Services that the breaking routes need. If the
// Ingress is unchanged, they are the Services of these routes. If it has changed,
// they are all Services that it names for the host and that lack what it asks of
// them.
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

// unresolved returns the Services that lack what the Ingress asks of them.
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

// serves reports whether the Ingress exists and belongs to the gateway.
func serves(classes route.Classes, gateway route.Gateway, ingress *networkingv1.Ingress) bool {
	if ingress == nil {
		return false
	}
	its, ours := classes.Gateway(ingress)
	return ours && its == gateway
}
