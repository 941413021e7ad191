package assembly

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"
	ctrlcontroller "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/problem"
)

const (
	// workers is how many keys of a controller are worked on at once. Of these, two
	// at most ask the API server (apireader.Reader).
	workers = 4
	// A key whose reconciliation failed is tried again after firstRetry, then
	// twice that, up to lastRetry.
	firstRetry = 10 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Builder is a reconciler seen from the first pass.
type Builder[K comparable, V any] interface {
	// Keys is all keys that there are; a key may be in it more than once.
	Keys(context.Context) ([]K, error)
	// Build is what a key asks for, nil for nothing, and what is wrong with that.
	Build(context.Context, K) (*V, []problem.Problem, error)
}

// waiting is a Builder that may ask for what it needs and come back.
type waiting[K comparable] interface {
	// Waiting is the keys that what was asked for concerns.
	Waiting() []K
}

// Kind is the keys of one kind, and the reconciler that keeps them.
type Kind[K comparable, V any] struct {
	// Name of the controller in logs and metrics.
	Name    string
	Builder Builder[K, V]
	// Reconciler keeps a key after the first pass.
	Reconciler reconcile.TypedReconciler[K]
	// Sources wake keys.
	Sources []source.TypedSource[K]
	// Publish publishes what the first pass built for a key.
	Publish func(K, *V)
	// Built, which may be nil, is called when the first pass has built all keys.
	Built func(map[K]*V)
	// IsLarge, which may be nil, says of a key that its runs take long: it comes after
	// all others, and few such run at once.
	IsLarge func(K) bool

	values  map[K]*V // of the first pass
	running interface {
		Watch(source.TypedSource[K]) error
	}
}

// Values is what the first pass built, until all of it is published.
func (k *Kind[K, V]) Values() map[K]*V { return k.values }

// Watch adds a source. Call it when the Assembly has started.
func (k *Kind[K, V]) Watch(from source.TypedSource[K]) error {
	if k.running == nil {
		return fmt.Errorf("watch for controller %s: it has not started", k.Name)
	}
	return k.running.Watch(from)
}

func (k *Kind[K, V]) build(ctx context.Context, problems Problems) error {
	keys, err := k.Builder.Keys(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", k.Name, err)
	}
	k.values = make(map[K]*V, len(keys))
	seen := make(map[K]bool, len(keys))
	for _, key := range keys {
		if seen[key] {
			continue
		}
		seen[key] = true
		if err := k.buildOne(ctx, problems, key); err != nil {
			return err
		}
	}
	if k.Built != nil {
		k.Built(k.values)
	}
	return nil
}

// complete builds the keys that wait. Where what they wait for has not come,
// nothing is built, and the key is reconciled when it does.
func (k *Kind[K, V]) complete(ctx context.Context, problems Problems) error {
	from, ok := k.Builder.(waiting[K])
	if !ok {
		return nil
	}
	for _, key := range from.Waiting() {
		if err := k.buildOne(ctx, problems, key); err != nil {
			return err
		}
	}
	return nil
}

func (k *Kind[K, V]) buildOne(ctx context.Context, problems Problems, key K) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	value, found, err := k.Builder.Build(ctx, key)
	if err != nil {
		return fmt.Errorf("%s: %w", k.Name, err)
	}
	if value != nil {
		k.values[key] = value
	}
	if len(found) > 0 {
		problems[key] = found
	}
	return nil
}

func (k *Kind[K, V]) publish() {
	for key, value := range k.values {
		k.Publish(key, value)
	}
}

func (k *Kind[K, V]) forget() { k.values = nil }

func (k *Kind[K, V]) controller(log logr.Logger) (controller, error) {
	made, err := ctrlcontroller.NewTypedUnmanaged(k.Name, ctrlcontroller.TypedOptions[K]{
		Reconciler:              boundLarge(k.Reconciler, k.IsLarge),
		MaxConcurrentReconciles: workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[K](firstRetry, lastRetry),
		NewQueue:                queues(log, k.IsLarge),
		RecoverPanic:            new(true),
		EnableWarmup:            new(true),
		NeedLeaderElection:      new(false),
		SkipNameValidation:      new(true), // several Assemblies in one process are fine
		LogConstructor: func(key *K) logr.Logger {
			if key == nil {
				return log.V(1).WithValues("controller", k.Name) // of starting and stopping
			}
			return log.WithValues("controller", k.Name, "key", fmt.Sprint(*key))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make controller %s: %w", k.Name, err)
	}
	for _, from := range k.Sources {
		if err := made.Watch(from); err != nil {
			return nil, fmt.Errorf("watch for controller %s: %w", k.Name, err)
		}
	}
	warm, ok := made.(controller)
	if !ok {
		return nil, errors.New("make controller " + k.Name + ": its watches cannot begin before its workers")
	}
	k.running = made
	return warm, nil
}
