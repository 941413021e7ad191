package services

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// world is an API server and a cache that follows it, each kind of objects at its own pace.
// A store gets what the server has only when it receives it, and a handler hears of it only
// after that.
type world struct {
	cache.Cache // for the methods that are never called

	kinds []*kind
	now   int64
}

// kind is the objects of one type.
type kind struct {
	empty  client.Object
	server map[Key]client.Object
	stream []change // what the store has not yet received
	store  toolscache.Indexer

	mu        sync.Mutex
	listeners []*listener
}

// change is what the server said of an object.
type change struct {
	name   Key
	object client.Object // nil: deleted
	missed bool          // of a relist: no watch saw the deletion itself
}

// listener is a handler and the events that it has not heard yet.
type listener struct {
	handler toolscache.ResourceEventHandler
	pending []func()
}

func newWorld() *world {
	w := &world{now: 1_800_000_000}
	for _, empty := range []client.Object{&corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Node{}, &networkingv1.ServiceCIDR{}} {
		w.kinds = append(w.kinds, &kind{
			empty: empty, server: map[Key]client.Object{},
			store: toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{}),
		})
	}
	return w
}

func (w *world) kindOf(object any) *kind {
	i := slices.IndexFunc(w.kinds, func(k *kind) bool { return reflect.TypeOf(k.empty) == reflect.TypeOf(object) })
	return w.kinds[i]
}

// apply creates or updates an object on the server.
func (w *world) apply(object client.Object) {
	k, name := w.kindOf(object), client.ObjectKeyFromObject(object)
	w.now++
	object.SetResourceVersion(strconv.FormatInt(w.now, 10))
	if before, ok := k.server[name]; ok {
		object.SetUID(before.GetUID())
		object.SetCreationTimestamp(before.GetCreationTimestamp())
	} else {
		object.SetUID(types.UID(fmt.Sprint(w.now)))
		object.SetCreationTimestamp(metav1.NewTime(time.Unix(w.now, 0)))
	}
	k.server[name] = object
	k.stream = append(k.stream, change{name: name, object: object.DeepCopyObject().(client.Object)})
}

// remove deletes an object from the server.
func (w *world) remove(object client.Object) {
	k, name := w.kindOf(object), client.ObjectKeyFromObject(object)
	if _, ok := k.server[name]; ok {
		delete(k.server, name)
		k.stream = append(k.stream, change{name: name})
	}
}

// sync lets everything arrive everywhere.
func (w *world) sync() {
	for _, k := range w.kinds {
		for k.receive() {
		}
		for _, l := range k.listeners {
			for l.hear() {
			}
		}
	}
}

// receive lets the store have the next change of the stream.
func (k *kind) receive() bool {
	if len(k.stream) == 0 {
		return false
	}
	next := k.stream[0]
	k.stream = k.stream[1:]
	key := toolscache.NewObjectName(next.name.Namespace, next.name.Name).String()
	before, existed, err := k.store.GetByKey(key)
	if next.object != nil {
		next.object = trim(next.object)
	}
	switch {
	case next.object != nil && existed:
		err = errors.Join(err, k.store.Update(next.object))
		k.tell(func(h toolscache.ResourceEventHandler) { h.OnUpdate(before, next.object) })
	case next.object != nil:
		err = errors.Join(err, k.store.Add(next.object))
		k.tell(func(h toolscache.ResourceEventHandler) { h.OnAdd(next.object, false) })
	case existed && next.missed:
		err = errors.Join(err, k.store.Delete(before))
		k.tell(func(h toolscache.ResourceEventHandler) {
			h.OnDelete(toolscache.DeletedFinalStateUnknown{Key: key, Obj: before})
		})
	case existed:
		err = errors.Join(err, k.store.Delete(before))
		k.tell(func(h toolscache.ResourceEventHandler) { h.OnDelete(before) })
	}
	if err != nil {
		panic(err) // an index function failed
	}
	return true
}

// trim is what the agent's cache does.
func trim(object client.Object) client.Object {
	var trimmed any = object
	var err error
	switch object.(type) {
	case *corev1.Service:
		trimmed, err = trimService(object)
	case *discoveryv1.EndpointSlice:
		trimmed, err = trimSlice(object)
	}
	if err != nil {
		panic(err)
	}
	return trimmed.(client.Object)
}

// relist drops what happened in between: the stream broke, and the store will see only the
// result, in any order.
func (k *kind) relist(random *rand.Rand) {
	last := map[Key]int{}
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

func (k *kind) tell(event func(toolscache.ResourceEventHandler)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.listeners {
		l.pending = append(l.pending, func() { event(l.handler) })
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

// Get implements client.Reader from the store.
func (w *world) Get(_ context.Context, name client.ObjectKey, out client.Object, _ ...client.GetOption) error {
	found, exists, err := w.kindOf(out).store.GetByKey(toolscache.NewObjectName(name.Namespace, name.Name).String())
	if err != nil {
		return err
	}
	if !exists {
		return apierrors.NewNotFound(schema.GroupResource{}, name.String())
	}
	reflect.ValueOf(out).Elem().Set(reflect.ValueOf(found).Elem())
	return nil
}

// List implements client.Reader from the store.
func (w *world) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(opts)
	items := reflect.ValueOf(list).Elem().FieldByName("Items").Type().Elem()
	k := w.kindOf(reflect.New(items).Interface())
	var found []any
	if o.FieldSelector == nil {
		found = k.store.List()
	} else {
		by := o.FieldSelector.Requirements()[0]
		var err error
		if found, err = k.store.ByIndex(by.Field, o.Namespace+"/"+by.Value); err != nil {
			return err
		}
	}
	objects := make([]runtime.Object, len(found))
	for i := range found {
		objects[i] = found[i].(runtime.Object)
	}
	return meta.SetList(list, objects)
}

// IndexField implements client.FieldIndexer.
func (w *world) IndexField(_ context.Context, object client.Object, field string, values client.IndexerFunc) error {
	return w.kindOf(object).store.AddIndexers(toolscache.Indexers{field: func(o any) ([]string, error) {
		var keys []string
		for _, value := range values(o.(client.Object)) {
			keys = append(keys, o.(client.Object).GetNamespace()+"/"+value)
		}
		return keys, nil
	}})
}

func (w *world) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return informer{kind: w.kindOf(object)}, nil
}

func (w *world) WaitForCacheSync(context.Context) bool { return true }

// informer is a kind as its handlers see it.
type informer struct {
	cache.Informer // for the methods that are never called

	kind *kind
}

// AddEventHandlerWithOptions first delivers to the handler what exists already.
func (i informer) AddEventHandlerWithOptions(
	handler toolscache.ResourceEventHandler, _ toolscache.HandlerOptions,
) (toolscache.ResourceEventHandlerRegistration, error) {
	i.kind.mu.Lock()
	defer i.kind.mu.Unlock()
	for _, object := range i.kind.store.List() {
		handler.OnAdd(object, true)
	}
	i.kind.listeners = append(i.kind.listeners, &listener{handler: handler})
	return registration{}, nil
}

type registration struct {
	toolscache.ResourceEventHandlerRegistration
}

func (registration) HasSynced() bool { return true }
