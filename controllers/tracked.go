package controllers

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/controllers/replica"
	"github.com/fairwaynet/fairway/xds/route"
)

// tracked tells the Tracker which hosts were reconciled, and since when.
func (r *Road) tracked(hosts reconcile.TypedReconciler[route.Key]) reconcile.TypedReconciler[route.Key] {
	if r.Tracker == nil {
		return hosts
	}
	return reconcile.TypedFunc[route.Key](func(ctx context.Context, key route.Key) (reconcile.Result, error) {
		run := r.Tracker.Begin()
		result, err := hosts.Reconcile(ctx, key)
		if err == nil && result.IsZero() { // else it is to be done yet
			r.Tracker.Finish(key, run)
		}
		return result, err
	})
}

// beginPass is tracked for the first pass; the function that it returns is
// called when its picture is published.
func (r *Road) beginPass() (published func()) {
	if r.Tracker == nil {
		return func() {}
	}
	run := r.Tracker.Begin()
	return func() { r.Tracker.FinishAll(run) }
}

// TrimTelling is Trim, and tells the Tracker of each Ingress that an event of it
// is on its way: a cache transforms all of a list before it tells anybody of the
// first.
func TrimTelling(tracker *replica.Tracker) toolscache.TransformFunc {
	return func(object any) (any, error) {
		if ingress, ok := object.(*networkingv1.Ingress); ok {
			if version, err := replica.ParseVersion(ingress.ResourceVersion); err == nil { // else its event is complained of
				tracker.Coming(client.ObjectKeyFromObject(ingress), version)
			}
		}
		return Trim(object)
	}
}

var _ replica.Hosts = Publisher(nil)
