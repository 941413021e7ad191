package assembly

import (
	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
)

// afterOthers is the priority of keys whose runs take long. A host of thousands of
// paths costs what hundreds of others do, and many such hosts may be woken at once;
// those others must not wait for all of them.
const afterOthers = -1

// queue gives each key that is added its priority. A key that is added again has
// the higher one.
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
