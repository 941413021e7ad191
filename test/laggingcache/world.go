// Package laggingcache has an API server and a cache that lags behind it, step by step, for
// tests of reconcilers: in which order do they hear of what, and does it matter?
//
// It is no API server: it checks nothing, and serves no network. Its invariant: each kind of
// objects arrives at its own pace, in its own order, as it does in real informers.
package laggingcache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// World is an API server and a cache that follows it. The cache gets what the server has only
// when a Kind receives it, and a handler hears of it only after that. It is a cache.Cache. It
// is for one goroutine, apart from handlers that are added.
type World struct {
	// Kinds are in the order of New.
	Kinds []*Kind
	// Meanwhile, if set, changes the world while a reader of the cache reads something else.
	Meanwhile func()

	now time.Time
}

// Kind is the objects of one type.
type Kind struct {
	// Server is what the API server has, by name. Apply and Remove change it.
	Server map[types.NamespacedName]client.Object
	// Transform is what the cache makes of objects; nil: it keeps them as they are.
	Transform toolscache.TransformFunc
	// Selects says which objects the cache asks for; nil: all.
	Selects func(client.Object) bool

	empty  client.Object
	stream []change // what the cache has not yet received
	store  toolscache.Indexer

	mu        sync.Mutex
	listeners []*listener
}

// change is what the server said of an object.
type change struct {
	name   types.NamespacedName
	object client.Object // nil: deleted
	missed bool          // of a relist: no watch saw the deletion itself
}

// listener is a handler and the events that it has not heard yet.
type listener struct {
	handler toolscache.ResourceEventHandler
	pending []func()
}

// New makes a world with kinds of objects, by an empty object of each.
func New(kinds ...client.Object) *World {
	const start = 1_800_000_000
	w := &World{now: time.Unix(start, 0)}
	for _, empty := range kinds {
		w.Kinds = append(w.Kinds, &Kind{
			empty: empty, Server: map[types.NamespacedName]client.Object{},
			store: toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{}),
		})
	}
	return w
}

// Kind returns the kind of an object, which may be empty.
func (w *World) Kind(of client.Object) *Kind { return w.kindOf(reflect.TypeOf(of)) }

func (w *World) kindOf(of reflect.Type) *Kind {
	i := slices.IndexFunc(w.Kinds, func(k *Kind) bool { return reflect.TypeOf(k.empty) == of })
	return w.Kinds[i]
}

// Any returns any of the kinds.
func (w *World) Any(random *rand.Rand) *Kind { return w.Kinds[random.IntN(len(w.Kinds))] }

// Apply creates or updates objects on the server.
func (w *World) Apply(objects ...client.Object) {
	for _, object := range objects {
		k, name := w.Kind(object), client.ObjectKeyFromObject(object)
		w.now = w.now.Add(time.Second)
		version := strconv.FormatInt(w.now.Unix(), 10)
		object.SetResourceVersion(version)
		object.SetUID(types.UID(version))
		object.SetCreationTimestamp(metav1.NewTime(w.now))
		if before, ok := k.Server[name]; ok {
			object.SetUID(before.GetUID())
			object.SetCreationTimestamp(before.GetCreationTimestamp())
		}
		k.Server[name] = object
		next := change{name: name}
		if k.Selects == nil || k.Selects(object) {
			next.object = object.DeepCopyObject().(client.Object)
		}
		k.stream = append(k.stream, next)
	}
}

// Remove deletes objects from the server.
func (w *World) Remove(objects ...client.Object) {
	for _, object := range objects {
		k, name := w.Kind(object), client.ObjectKeyFromObject(object)
		if _, ok := k.Server[name]; ok {
			delete(k.Server, name)
			k.stream = append(k.stream, change{name: name})
		}
	}
}

// Sync lets everything arrive everywhere.
func (w *World) Sync() {
	for _, k := range w.Kinds {
		for k.Receive() {
		}
		for _, l := range k.listeners {
			for l.hear() {
			}
		}
	}
}

// Receive lets the cache have the next change. It reports whether there was one.
func (k *Kind) Receive() bool {
	if len(k.stream) == 0 {
		return false
	}
	next := k.stream[0]
	k.stream = k.stream[1:]
	if err := k.receive(next); err != nil {
		panic(fmt.Errorf("receive %s: %w", next.name, err)) // an index or a transformation failed
	}
	return true
}

func (k *Kind) receive(next change) error {
	key := toolscache.NewObjectName(next.name.Namespace, next.name.Name).String()
	before, existed, err := k.store.GetByKey(key)
	if err != nil {
		return err
	}
	object := next.object
	if object != nil && k.Transform != nil {
		transformed, err := k.Transform(object)
		if err != nil {
			return err
		}
		object = transformed.(client.Object)
	}
	switch {
	case object != nil && existed:
		k.tell(func(h toolscache.ResourceEventHandler) { h.OnUpdate(before, object) })
		return k.store.Update(object)
	case object != nil:
		k.tell(func(h toolscache.ResourceEventHandler) { h.OnAdd(object, false) })
		return k.store.Add(object)
	case existed && next.missed:
		k.tell(func(h toolscache.ResourceEventHandler) {
			h.OnDelete(toolscache.DeletedFinalStateUnknown{Key: key, Obj: before})
		})
		return k.store.Delete(before)
	case existed:
		k.tell(func(h toolscache.ResourceEventHandler) { h.OnDelete(before) })
		return k.store.Delete(before)
	}
	return nil
}

// Lose drops the next change of the kind: neither the cache nor a handler ever hears of it.
func (k *Kind) Lose() { k.stream = k.stream[1:] }

// Relist drops what happened in between: the stream broke, and the cache will see only the
// result, in any order.
func (k *Kind) Relist(random *rand.Rand) {
	last := map[types.NamespacedName]int{}
	for i, c := range k.stream {
		last[c.name] = i
	}
	var stream []change
	for i, c := range k.stream {
		if last[c.name] == i {
			c.missed = c.object == nil
			stream = append(stream, c)
		}
	}
	random.Shuffle(len(stream), func(i, j int) { stream[i], stream[j] = stream[j], stream[i] })
	k.stream = stream
}

func (k *Kind) tell(event func(toolscache.ResourceEventHandler)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.listeners {
		l.pending = append(l.pending, func() { event(l.handler) })
	}
}

// Hear delivers the next event to one handler of the kind.
func (k *Kind) Hear(random *rand.Rand) {
	if len(k.listeners) > 0 {
		k.listeners[random.IntN(len(k.listeners))].hear()
	}
}

// hear delivers the next event to the handler.
func (l *listener) hear() bool {
	if len(l.pending) == 0 {
		return false
	}
	next := l.pending[0]
	l.pending = l.pending[1:]
	next()
	return true
}

// ErrAway is what readers answer that do not answer.
var ErrAway = errors.New("connection refused")
