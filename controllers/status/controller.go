package status

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	// workers is how many addresses are written at once. It is what bounds the
	// rate too: the API server's own fairness does the rest.
	workers = 16
	// A write that failed is tried again after firstRetry, then twice that, up
	// to lastRetry.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Controller wakes the Reconciler. It watches on every replica, and works for
// as long as this one leads.
type Controller struct {
	Cache cache.Cache
	// New is a Reconciler for a new term.
	New func() *Reconciler
	Log logr.Logger

	mu      sync.Mutex
	current *Reconciler // nil: another replica leads
	queue   queue
}

type queue = workqueue.TypedRateLimitingInterface[types.NamespacedName]

// Watch begins to hear of Ingresses and their classes. Call it once, before
// Lead.
func (c *Controller) Watch(ctx context.Context) error {
	ingresses, err := c.Cache.GetInformer(ctx, &networkingv1.Ingress{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch ingresses: %w", err)
	}
	classes, err := c.Cache.GetInformer(ctx, &networkingv1.IngressClass{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch ingress classes: %w", err)
	}
	one := func(object any) { c.Wake(nameOf(object)) }
	if _, err := ingresses.AddEventHandler(handler(one)); err != nil {
		return fmt.Errorf("watch ingresses: %w", err)
	}
	// Of the classes an Ingress can have none is its own alone.
	if _, err := classes.AddEventHandler(handler(func(any) { c.WakeAll(ctx) })); err != nil {
		return fmt.Errorf("watch ingress classes: %w", err)
	}
	return nil
}

func handler(hear func(object any)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    hear,
		UpdateFunc: func(_, object any) { hear(object) },
		DeleteFunc: func(object any) {
			if last, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			hear(object)
		},
	}
}

func nameOf(object any) types.NamespacedName {
	if o, ok := object.(client.Object); ok {
		return client.ObjectKeyFromObject(o)
	}
	return types.NamespacedName{}
}

// Wake has an Ingress looked at.
func (c *Controller) Wake(name types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queue != nil {
		c.queue.Add(name)
	}
}

// WakeWaiting has the Ingresses looked at that wait for their addresses: a
// replica has said something new.
func (c *Controller) WakeWaiting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queue == nil {
		return
	}
	for _, name := range c.current.Waiting() {
		c.queue.Add(name)
	}
}

// WakeAll has every Ingress looked at.
func (c *Controller) WakeAll(ctx context.Context) {
	c.mu.Lock()
	queue := c.queue
	c.mu.Unlock()
	if queue == nil {
		return
	}
	// The informer's own list: a read through the cache would wait for it.
	var list networkingv1.IngressList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Error(err, "cannot look at all ingresses")
		return
	}
	for i := range list.Items {
		queue.Add(client.ObjectKeyFromObject(&list.Items[i]))
	}
}

// Lead does the work for one term: a task of the leader.
func (c *Controller) Lead(ctx context.Context) error {
	reconciler := c.New()
	working, err := controller.NewTypedUnmanaged("status", controller.TypedOptions[types.NamespacedName]{
		Reconciler:              reconciler,
		MaxConcurrentReconciles: workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstRetry, lastRetry),
		UsePriorityQueue:        new(true),
		RecoverPanic:            new(true),
		NeedLeaderElection:      new(false),
		SkipNameValidation:      new(true), // a term comes after another
		LogConstructor: func(name *types.NamespacedName) logr.Logger {
			if name == nil {
				return c.Log.V(1).WithValues("controller", "status") // of starting and stopping
			}
			return c.Log.WithValues("controller", "status", "ingress", name.String())
		},
	})
	if err != nil {
		return fmt.Errorf("make controller status: %w", err)
	}
	err = working.Watch(source.TypedFunc[types.NamespacedName](func(ctx context.Context, q queue) error {
		c.attach(reconciler, q)
		c.WakeAll(ctx)
		return nil
	}))
	if err != nil {
		return fmt.Errorf("watch for controller status: %w", err)
	}
	defer reconciler.resign(context.WithoutCancel(ctx))
	defer c.attach(nil, nil)
	return working.Start(ctx)
}

func (c *Controller) attach(reconciler *Reconciler, q queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current, c.queue = reconciler, q
}
