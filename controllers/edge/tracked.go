package edge

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/edge/ingressstatus"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
)

// tracked tells the Tracker which hosts were reconciled, and since when.
func (c *Controllers) tracked(hosts reconcile.TypedReconciler[route.Key]) reconcile.TypedReconciler[route.Key] {
	if c.Tracker == nil {
		return hosts
	}
	return reconcile.TypedFunc[route.Key](func(ctx context.Context, key route.Key) (reconcile.Result, error) {
		run := c.Tracker.Begin()
		result, err := hosts.Reconcile(ctx, key)
		if err == nil && result.IsZero() { // else it is to be done yet
			c.Tracker.Finish(key, run)
		}
		return result, err
	})
}

// beginPass is tracked for the first pass; the function that it returns is
// called when its picture is published.
func (c *Controllers) beginPass() (published func()) {
	if c.Tracker == nil {
		return func() {}
	}
	run := c.Tracker.Begin()
	return func() { c.Tracker.FinishAll(run) }
}

// Reads is what the Controllers read of objects beyond what every cache keeps.
func Reads() assembly.Reads { return assembly.Reads{IngressOwners: ingressstatus.Keep} }

// Announcing is trim, and tells the Tracker of each Ingress that an event of it
// is on its way: a cache transforms all of a list before it tells anybody of the
// first.
func Announcing(tracker *replica.Tracker, trim toolscache.TransformFunc) toolscache.TransformFunc {
	return func(object any) (any, error) {
		if ingress, ok := object.(*networkingv1.Ingress); ok {
			if version, err := replica.ParseVersion(ingress.ResourceVersion); err == nil { // else its event is complained of
				tracker.Coming(client.ObjectKeyFromObject(ingress), version)
			}
		}
		return trim(object)
	}
}

var _ replica.Hosts = Publisher(nil)
