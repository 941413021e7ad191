// Package leaderelected runs a controller for as long as this replica leads.
//
// Its watches last as long as the process, and cost next to nothing while another
// replica leads. Its queue and reconciler last for one term, which begins with all
// keys. It does not decide who leads (controllers/replicas/leader). Its invariant:
// a term knows nothing that an earlier term has remembered.
package leaderelected

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/objects/watch"
)

// The defaults of Controller.FirstRetry and LastRetry.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Minute
)

// Reconciler is a reconciler for one term.
type Reconciler[K comparable] interface {
	reconcile.TypedReconciler[K]
	// Keys returns all keys that need work.
	Keys(context.Context) ([]K, error)
	// Resign withdraws what it has reported, but not what it has done.
	Resign(context.Context)
}

// Controller wakes the Reconciler of the term.
type Controller[K comparable] struct {
	Name    string
	Workers int
	// New makes a Reconciler for a new term.
	New func() Reconciler[K]
	// A key whose reconciliation failed is tried again after FirstRetry, then
	// after twice that, up to LastRetry. Zero means 100 ms and a minute.
	FirstRetry, LastRetry time.Duration
	Log                   logr.Logger

	mu      sync.Mutex
	current Reconciler[K] // nil: another replica leads
	queue   queue[K]
}

type queue[K comparable] = workqueue.TypedRateLimitingInterface[K]

// Watch makes the events of a kind wake keys, from now on, in every term. Call it
// at any time, once for each kind. It returns an error if the cluster does not
// have the kind, or if the cache does not work.
func Watch[K comparable, O client.Object](
	ctx context.Context, c *Controller[K], objects cache.Cache, kind O, essence watch.Essence[O], keys watch.Keys[O, K],
) error {
	informer, err := objects.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch %T: %w", kind, err)
	}
	hear := func(found ...any) { wake(ctx, c, keys, found...) }
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { hear(object) },
		UpdateFunc: func(before, after any) {
			was, ok1 := before.(O)
			is, ok2 := after.(O)
			if ok1 && ok2 && !equality.Semantic.DeepEqual(essence(was), essence(is)) {
				hear(was, is)
			}
		},
		DeleteFunc: func(object any) {
			if last, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			hear(object)
		},
	})
	if err != nil {
		return fmt.Errorf("watch %T: %w", kind, err)
	}
	return nil
}

func wake[K comparable, O client.Object](ctx context.Context, c *Controller[K], keys watch.Keys[O, K], objects ...any) {
	if !c.Leads() {
		return // the next term begins with all keys
	}
	for _, object := range objects {
		o, ok := object.(O)
		if !ok {
			continue
		}
		found, err := keys(ctx, o)
		if err != nil {
			c.Log.Error(err, "cannot tell which keys an event concerns", "controller", c.Name, "object", client.ObjectKeyFromObject(o))
		}
		c.Wake(found...)
	}
}

// Leads reports whether there is a term now.
func (c *Controller[K]) Leads() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue != nil
}

// Current returns the Reconciler of the term; nil: there is no term.
func (c *Controller[K]) Current() Reconciler[K] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Wake queues keys.
func (c *Controller[K]) Wake(keys ...K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queue == nil {
		return
	}
	for _, key := range keys {
		c.queue.Add(key)
	}
}

// WakeAll queues all keys.
func (c *Controller[K]) WakeAll(ctx context.Context) error {
	current := c.Current()
	if current == nil {
		return nil
	}
	keys, err := current.Keys(ctx)
	c.Wake(keys...)
	return err
}

// Lead works for one term: it is a task of the leader.
func (c *Controller[K]) Lead(ctx context.Context) error {
	reconciler := c.New()
	working, err := controller.NewTypedUnmanaged(c.Name, controller.TypedOptions[K]{
		Reconciler:              reconciler,
		MaxConcurrentReconciles: c.Workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[K](cmp.Or(c.FirstRetry, firstRetry), cmp.Or(c.LastRetry, lastRetry)),
		UsePriorityQueue:        new(true),
		RecoverPanic:            new(true),
		NeedLeaderElection:      new(false),
		SkipNameValidation:      new(true), // each term has a controller of that name
		LogConstructor: func(key *K) logr.Logger {
			if key == nil {
				return c.Log.V(1).WithValues("controller", c.Name) // of starting and stopping
			}
			return c.Log.WithValues("controller", c.Name, "key", fmt.Sprint(*key))
		},
	})
	if err != nil {
		return fmt.Errorf("make controller %s: %w", c.Name, err)
	}
	err = working.Watch(source.TypedFunc[K](func(ctx context.Context, q queue[K]) error {
		if !c.begin(ctx, reconciler, q) {
			return nil
		}
		return c.WakeAll(ctx)
	}))
	if err != nil {
		return fmt.Errorf("watch for controller %s: %w", c.Name, err)
	}
	defer reconciler.Resign(context.WithoutCancel(ctx))
	defer c.end()
	return working.Start(ctx)
}

// begin says false when the term is over before it began: controller-runtime calls
// a source on a goroutine that nobody waits for once ctx has ended.
func (c *Controller[K]) begin(ctx context.Context, reconciler Reconciler[K], q queue[K]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	c.current, c.queue = reconciler, q
	return true
}

func (c *Controller[K]) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current, c.queue = nil, nil
}
