package explain

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/survey"
	"github.com/fairwaynet/fairway/xds/route"
)

// Gather reads from a cluster what is needed to explain a request: all that
// routes, and of Services those to which requests for the host can go.
func Gather(ctx context.Context, reader survey.Reader, request Request) ([]client.Object, error) {
	objects, err := reader.Routing(ctx)
	if err != nil {
		return nil, err
	}
	host, _ := route.HostOf(request.Authority)
	candidates := route.HostsFor(host)
	var services []types.NamespacedName
	for _, object := range objects {
		ing, ok := object.(*networkingv1.Ingress)
		if !ok {
			continue
		}
		concerns := func(host route.Hostname) bool { return slices.Contains(candidates, host) }
		if slices.ContainsFunc(route.HostsOf(ing), concerns) {
			services = append(services, route.ServicesOf(ing)...)
		}
	}
	slices.SortFunc(services, func(a, b types.NamespacedName) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	found, err := reader.Services(ctx, slices.Compact(services))
	return append(objects, found...), err
}
