package gatewayconfig

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/watch"
	"github.com/fairwaynet/fairway/xds/route"
)

// nowhere is the key of the classes whose parameters name no gateway.
const nowhere route.Gateway = ""

// Sources is all that the reconciler watches.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[route.Gateway] {
	return []source.TypedSource[route.Gateway]{
		watch.Source(objects, &networkingv1.IngressClass{}, watch.IngressClass, classKeys),
	}
}

// Keys is all gateways that there are, and nowhere.
func (r *Reconciler) Keys(ctx context.Context) ([]route.Gateway, error) {
	classes, err := r.Objects.Classes(ctx)
	if err != nil {
		return nil, err
	}
	return append(classes.Gateways(), nowhere), nil
}

func classKeys(_ context.Context, class *networkingv1.IngressClass) ([]route.Gateway, error) {
	gateway, ours := route.GatewayOf(class)
	if !ours {
		return nil, nil
	}
	return []route.Gateway{gateway}, nil
}
