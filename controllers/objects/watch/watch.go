// Package watch turns events of objects into keys of a reconciler's queue.
//
// It does not decide which keys an object concerns (the reconciler's mapping
// function does) and reads nothing itself. Its invariant: an event wakes the keys
// of the object as it was and as it is, so a key still hears of an object that
// moved away from it.
package watch

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Keys returns the keys that an object concerns, by what is known now.
type Keys[O client.Object, K comparable] func(context.Context, O) ([]K, error)

// Essence is the part of an object on which anything can depend, as a value to
// compare. An update that does not change it wakes no key.
type Essence[O client.Object] func(O) any

// Observer hears of every event of a kind before its keys are queued. It gets the
// object as it is now, or as it was last if it is gone, and the keys. An event
// that changes nothing essential has no keys.
type Observer[O client.Object, K comparable] func(ctx context.Context, object O, gone bool, keys []K)

// Source watches the objects of a kind. Objects that exist when the watch begins
// wake no keys: the first pass handles them, and it reads the cache after all
// watches have begun.
func Source[O client.Object, K comparable](
	objects cache.Cache, kind O, essence Essence[O], keys Keys[O, K],
) source.TypedSyncingSource[K] {
	return ObservedSource(objects, kind, essence, keys, nil)
}

// LateSource is Source for a watch that begins after the first pass: objects that
// exist wake their keys.
func LateSource[O client.Object, K comparable](
	objects cache.Cache, kind O, essence Essence[O], keys Keys[O, K],
) source.TypedSyncingSource[K] {
	return source.TypedKind(objects, kind, handler.TypedEventHandler[O, K](late[O, K]{Handler(essence, keys, nil)}))
}

// late treats objects that exist as new ones.
type late[O client.Object, K comparable] struct {
	handler.TypedEventHandler[O, K]
}

// Create implements handler.TypedEventHandler.
func (l late[O, K]) Create(ctx context.Context, e event.TypedCreateEvent[O], q workqueue.TypedRateLimitingInterface[K]) {
	e.IsInInitialList = false
	l.TypedEventHandler.Create(ctx, e, q)
}

// ObservedSource is Source with an observer, which may be nil. The observer also
// hears of the objects that exist when the watch begins.
func ObservedSource[O client.Object, K comparable](
	objects cache.Cache, kind O, essence Essence[O], keys Keys[O, K], observer Observer[O, K],
) source.TypedSyncingSource[K] {
	return source.TypedKind(objects, kind, Handler(essence, keys, observer))
}

// Handler returns the event handler of ObservedSource.
func Handler[O client.Object, K comparable](
	essence Essence[O], keys Keys[O, K], observer Observer[O, K],
) handler.TypedEventHandler[O, K] {
	type queue = workqueue.TypedRateLimitingInterface[K]
	told := observer != nil
	if !told {
		observer = func(context.Context, O, bool, []K) {}
	}
	return handler.TypedFuncs[O, K]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[O], q queue) {
			if e.IsInInitialList && !told {
				return
			}
			found := all(ctx, keys, e.Object)
			observer(ctx, e.Object, false, found)
			if !e.IsInInitialList {
				wake(q, found)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[O], q queue) {
			var found []K
			if !equality.Semantic.DeepEqual(essence(e.ObjectOld), essence(e.ObjectNew)) {
				found = all(ctx, keys, e.ObjectOld, e.ObjectNew)
			}
			observer(ctx, e.ObjectNew, false, found)
			wake(q, found)
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[O], q queue) {
			found := all(ctx, keys, e.Object)
			observer(ctx, e.Object, true, found)
			wake(q, found)
		},
	}
}

// all returns the keys of the objects, each once. A mapping fails only if an index
// is missing. That is a bug of ours, which waiting does not mend.
func all[O client.Object, K comparable](ctx context.Context, keys Keys[O, K], objects ...O) []K {
	var every []K
	seen := map[K]bool{}
	for _, object := range objects {
		found, err := keys(ctx, object)
		if err != nil {
			log.FromContext(ctx).Error(err, "cannot tell which keys an event concerns",
				"object", client.ObjectKeyFromObject(object))
		}
		for _, key := range found {
			if !seen[key] {
				seen[key] = true
				every = append(every, key)
			}
		}
	}
	return every
}

func wake[K comparable](queue workqueue.TypedRateLimitingInterface[K], keys []K) {
	for _, key := range keys {
		queue.Add(key)
	}
}
