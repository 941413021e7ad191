package report

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/fairwaynet/fairway/api/problem"
)

// OfKind is a Subscriber that keeps the Problems of one kind of objects.
type OfKind struct {
	Kind string

	mu    sync.Mutex
	found map[problem.Problem]bool
}

// Appeared implements Subscriber.
func (k *OfKind) Appeared(_ context.Context, p problem.Problem) {
	if p.Object.Kind != k.Kind {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.found == nil {
		k.found = map[problem.Problem]bool{}
	}
	k.found[p] = true
}

// Resolved implements Subscriber.
func (k *OfKind) Resolved(_ context.Context, p problem.Problem) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.found, p)
}

// Problems returns those that there are now, in order.
func (k *OfKind) Problems() []problem.Problem {
	k.mu.Lock()
	defer k.mu.Unlock()
	return problem.Sort(slices.Collect(maps.Keys(k.found)))
}
