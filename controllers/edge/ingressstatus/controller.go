package ingressstatus

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/replicas/leaderelected"
)

const (
	// workers is how many addresses are written at once. It bounds the rate too;
	// the API server's own fairness does the rest.
	workers = 16
	// A write that failed is tried again after firstRetry, then after twice that,
	// up to lastRetry.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Controller runs the Reconciler for as long as this replica leads. Use
// NewController.
type Controller struct {
	*leaderelected.Controller[types.NamespacedName]

	cache cache.Cache
}

// NewController makes a Controller of the Ingresses in a cache. The function makes
// a Reconciler for each term.
func NewController(objects cache.Cache, log logr.Logger, reconciler func() *Reconciler) *Controller {
	return &Controller{cache: objects, Controller: &leaderelected.Controller[types.NamespacedName]{
		Name: "status", Workers: workers, FirstRetry: firstRetry, LastRetry: lastRetry, Log: log,
		New: func() leaderelected.Reconciler[types.NamespacedName] { return reconciler() },
	}}
}

// Watch begins to watch Ingresses and their classes. Call it once, before Lead.
func (c *Controller) Watch(ctx context.Context) error {
	itself := func(_ context.Context, i *networkingv1.Ingress) ([]types.NamespacedName, error) {
		return []types.NamespacedName{client.ObjectKeyFromObject(i)}, nil
	}
	// A class may concern any number of Ingresses, so its event wakes all of them.
	all := func(ctx context.Context, _ *networkingv1.IngressClass) ([]types.NamespacedName, error) {
		return nil, c.Controller.WakeAll(ctx)
	}
	return errors.Join(
		leaderelected.Watch(ctx, c.Controller, c.cache, &networkingv1.Ingress{}, anyUpdate[*networkingv1.Ingress], itself),
		leaderelected.Watch(ctx, c.Controller, c.cache, &networkingv1.IngressClass{}, anyUpdate[*networkingv1.IngressClass], all),
	)
}

// anyUpdate makes every part of an object matter.
func anyUpdate[O client.Object](object O) any { return object }

// WakeAll queues every Ingress.
func (c *Controller) WakeAll(ctx context.Context) {
	if err := c.Controller.WakeAll(ctx); err != nil {
		c.Log.Error(err, "cannot look at all ingresses")
	}
}

// WakeWaiting queues the Ingresses that wait for their addresses. Call it when a
// replica has reported something new.
func (c *Controller) WakeWaiting() {
	if current, ok := c.Current().(*Reconciler); ok {
		c.Wake(current.Waiting()...)
	}
}
