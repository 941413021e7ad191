package controllers

import (
	"context"

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
		if err == nil {
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

var _ replica.Hosts = Publisher(nil)
