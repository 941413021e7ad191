package issuer

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/controllers/replicas/leaderelected"
)

// Workers is how many reconcile at once. Those that ask the same authority wait
// for permits of its Limiter.
const Workers = 16

// Controller runs Reconcilers.
type Controller = leaderelected.Controller[string]

// TermReconciler is a Reconciler as a Controller runs it.
type TermReconciler = leaderelected.Reconciler[string]

// WatchCustom has a Controller watch Issuers. A cluster without that kind is an
// error.
func WatchCustom(ctx context.Context, c *Controller, objects cache.Cache) error {
	return leaderelected.Watch(ctx, c, objects, &v1alpha1.Issuer{}, watch.Issuer,
		func(_ context.Context, issuer *v1alpha1.Issuer) ([]string, error) { return []string{issuer.Name}, nil })
}
