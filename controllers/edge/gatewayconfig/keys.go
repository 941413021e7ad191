package gatewayconfig

import (
	"context"
	"maps"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/xds/route"
)

// nowhere is the key of the classes whose parameters name no gateway.
const nowhere route.Gateway = ""

// Sources returns all that the reconciler watches, except the custom resources.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[route.Gateway] {
	sources := []source.TypedSource[route.Gateway]{
		watch.Source(objects, &networkingv1.IngressClass{}, watch.IngressClass, r.classKeys),
	}
	if r.Published != nil {
		sources = append(sources, r.Published.Source(r.Keys))
	}
	return sources
}

// CustomSources watches the custom resources. Set late if the first picture is
// made already: then objects that exist wake their keys.
func (r *Reconciler) CustomSources(objects cache.Cache, late bool) []source.TypedSource[route.Gateway] {
	begin := watch.Source[*v1alpha1.ClusterGatewayConfig, route.Gateway]
	beginNamespaced := watch.Source[*v1alpha1.GatewayConfig, route.Gateway]
	if late {
		begin = watch.LateSource[*v1alpha1.ClusterGatewayConfig, route.Gateway]
		beginNamespaced = watch.LateSource[*v1alpha1.GatewayConfig, route.Gateway]
	}
	return []source.TypedSource[route.Gateway]{
		begin(objects, &v1alpha1.ClusterGatewayConfig{}, watch.ClusterGatewayConfig, configKeys),
		beginNamespaced(objects, &v1alpha1.GatewayConfig{}, watch.GatewayConfig, configKeys),
	}
}

// Keys returns all gateways that exist or could exist, and nowhere.
func (r *Reconciler) Keys(ctx context.Context) ([]route.Gateway, error) {
	classes, err := r.Objects.Classes(ctx)
	if err != nil {
		return nil, err
	}
	named, err := r.Objects.NamedGateways(ctx)
	if err != nil {
		return nil, err
	}
	configs, err := r.Objects.Configs(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Concat(classes.Gateways(), named, slices.Sorted(maps.Keys(configs)), []route.Gateway{nowhere}), nil
}

func (r *Reconciler) classKeys(_ context.Context, class *networkingv1.IngressClass) ([]route.Gateway, error) {
	gateway, ours := r.Objects.Controller.GatewayOf(class)
	if !ours { // it may decide which installation tells of the gateway's configuration
		gateway, _ = route.Controller(class.Spec.Controller).GatewayOf(class)
	}
	if !ours && gateway == nowhere {
		return nil, nil
	}
	return []route.Gateway{gateway}, nil
}

func configKeys[C client.Object](_ context.Context, config C) ([]route.Gateway, error) {
	return []route.Gateway{route.ConfiguredBy(client.ObjectKeyFromObject(config))}, nil
}
