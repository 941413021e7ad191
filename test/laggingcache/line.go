package laggingcache

import (
	"context"
	"testing"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Line is the work of one reconciler, of which a test takes every step.
type Line[K comparable] struct {
	workqueue.TypedRateLimitingInterface[K]

	reconciler reconcile.TypedReconciler[K]
	later      map[K]bool // to be reconciled again after a while
}

// Listen starts the sources of a reconciler. Its queue ends with ctx.
func Listen[K comparable](ctx context.Context, t testing.TB, reconciler reconcile.TypedReconciler[K], sources []source.TypedSource[K]) Line[K] {
	t.Helper()
	q := Line[K]{
		TypedRateLimitingInterface: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[K]()),
		reconciler:                 reconciler,
		later:                      map[K]bool{},
	}
	context.AfterFunc(ctx, q.ShutDown)
	for _, from := range sources {
		if err := from.Start(ctx, q); err != nil {
			t.Fatal(err)
		}
		if syncing, ok := from.(source.TypedSyncingSource[K]); ok {
			if err := syncing.WaitForSync(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	return q
}

// Work reconciles the next key, and reports whether there was one. A key that fails is in the
// line again.
func (q Line[K]) Work(ctx context.Context) bool {
	if q.Len() == 0 {
		return false
	}
	key, _ := q.Get()
	result, err := q.reconciler.Reconcile(ctx, key)
	q.Done(key)
	if err != nil {
		q.Add(key)
	}
	delete(q.later, key)
	if result.RequeueAfter > 0 {
		q.later[key] = true
	}
	return true
}

// Remind makes keys be looked at again after a while. In a real queue its own clock does
// that; a test does not wait for it.
func (q Line[K]) Remind(keys ...K) {
	for _, key := range keys {
		q.later[key] = true
	}
}

// Wait passes the time after which keys are looked at again.
func (q Line[K]) Wait() {
	for key := range q.later {
		q.Add(key)
	}
}
