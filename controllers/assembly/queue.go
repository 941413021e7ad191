package assembly

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// afterOthers is the priority of keys whose runs take long. A host with thousands
// of paths costs as much as hundreds of others, and many such hosts may be woken
// at once. The other hosts must not wait for all of them.
const afterOthers = -1

// queue gives each key its priority when it is added. A key that is added twice
// gets the higher priority.
type queue[K comparable] struct {
	priorityqueue.PriorityQueue[K]

	large func(K) bool // may be nil
}

// queues makes the queue of a controller.
func queues[K comparable](
	log logr.Logger, large func(K) bool,
) func(string, workqueue.TypedRateLimiter[K]) workqueue.TypedRateLimitingInterface[K] {
	return func(name string, limiter workqueue.TypedRateLimiter[K]) workqueue.TypedRateLimitingInterface[K] {
		made := priorityqueue.New(name, func(o *priorityqueue.Opts[K]) {
			o.Log, o.RateLimiter = log.V(1).WithValues("controller", name), limiter
		})
		return queue[K]{made, large}
	}
}

// Add implements workqueue.TypedInterface.
func (q queue[K]) Add(key K) {
	priority := 0
	if q.large != nil && q.large(key) {
		priority = afterOthers
	}
	q.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, key)
}

const (
	// largeAtOnce is how many large keys are worked on at once. Some workers and
	// some CPUs always stay free for the others.
	largeAtOnce = 1
	// largeAgain is the delay after which a large key that found no room is tried
	// again.
	largeAgain = 20 * time.Millisecond
)

// largeBounded is a reconciler that works on few large keys at once.
type largeBounded[K comparable] struct {
	reconcile.TypedReconciler[K]

	large func(K) bool
	room  chan struct{} // holds one value for each large key at work
}

// boundLarge limits how many keys run at once among those that large selects.
// large may be nil.
func boundLarge[K comparable](reconciler reconcile.TypedReconciler[K], large func(K) bool) reconcile.TypedReconciler[K] {
	if large == nil {
		return reconciler
	}
	return largeBounded[K]{reconciler, large, make(chan struct{}, largeAtOnce)}
}

// Reconcile implements reconcile.TypedReconciler.
func (l largeBounded[K]) Reconcile(ctx context.Context, key K) (reconcile.Result, error) {
	if !l.large(key) {
		return l.TypedReconciler.Reconcile(ctx, key)
	}
	select {
	case l.room <- struct{}{}:
		defer func() { <-l.room }()
		return l.TypedReconciler.Reconcile(ctx, key)
	default:
		return reconcile.Result{RequeueAfter: largeAgain, Priority: new(afterOthers)}, nil
	}
}
