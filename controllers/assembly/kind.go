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
	// workers is how many keys a controller works on at once. At most two of them
	// ask the API server (apireader.Reader).
	workers = 4
	// A key whose reconciliation failed is tried again after firstRetry, then
	// after twice that, up to lastRetry.
	firstRetry = 10 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Builder is a reconciler as the first pass sees it.
type Builder[K comparable, V any] interface {
	// Keys returns all keys; it may return a key more than once.
	Keys(context.Context) ([]K, error)
	// Build returns the value of a key, nil if there is none, and the key's
	// Problems.
	Build(context.Context, K) (*V, []problem.Problem, error)
}

// waiting is a Builder whose keys may have to wait for something they asked for.
type waiting[K comparable] interface {
	// Waiting returns the keys to build again once the Assembly has settled.
	Waiting() []K
}

// Kind holds the keys of one kind and the reconciler that keeps them.
type Kind[K comparable, V any] struct {
	// Name is the controller's name in logs and metrics.
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
	// IsLarge, which may be nil, reports whether the runs of a key take long. Such
	// keys come after all others, and few of them run at once.
	IsLarge func(K) bool

	values  map[K]*V // of the first pass
	running interface {
		Watch(source.TypedSource[K]) error
	}
}

// Values returns what the first pass built. It is nil once all of it is published.
func (k *Kind[K, V]) Values() map[K]*V { return k.values }

// Watch adds a source. Call it after the Assembly has started.
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

// complete builds the keys that wait. A key whose answer is still missing is left
// out; it is reconciled when the answer comes.
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
