package edge

import (
	"context"
	"errors"
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
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// world is an API server and a cache that follows it, each kind of objects at its
// own pace. A store gets what the server has only when it receives it, and a
// handler hears of it only after that. A test takes these steps separately, so
// that informers can be out of step in every way that real ones can.
type world struct {
	kinds []*kind
	now   time.Time
	// meanwhile, if set, changes the world while a reader reads something else.
	meanwhile func()
}

// kind is the objects of one type.
type kind struct {
	empty  client.Object
	server map[string]client.Object
	stream []change // what the store has not yet received
	store  toolscache.Indexer

	transform toolscache.TransformFunc // may be nil

	mu        sync.Mutex
	listeners []*listener
}

// change is what the server said of an object.
type change struct {
	name   string
	object client.Object // nil: deleted
	missed bool          // of a relist: no watch saw the deletion itself
}

// listener is a handler and the events that it has not heard yet.
type listener struct {
	handler toolscache.ResourceEventHandler
	pending []func()
}

func newWorld() *world {
	w := &world{now: time.Unix(1_800_000_000, 0)}
	for _, empty := range []client.Object{
		&networkingv1.Ingress{}, &networkingv1.IngressClass{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Secret{}, index.Namespace(),
		&v1alpha1.ClusterGatewayConfig{}, &v1alpha1.GatewayConfig{},
	} {
		w.kinds = append(w.kinds, &kind{
			empty:  empty,
			server: map[string]client.Object{},
			store:  toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{}),
		})
	}
	return w
}

func nameOf(object client.Object) string {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}.String()
}

func (w *world) kindOf(object any) *kind {
	i := slices.IndexFunc(w.kinds, func(k *kind) bool { return reflect.TypeOf(k.empty) == reflect.TypeOf(object) })
	return w.kinds[i]
}

// apply creates or updates objects on the server.
func (w *world) apply(objects ...client.Object) {
	for _, object := range objects {
		k := w.kindOf(object)
		w.now = w.now.Add(time.Second)
		object.SetCreationTimestamp(metav1.NewTime(w.now))
		if before, ok := k.server[nameOf(object)]; ok {
			object.SetCreationTimestamp(before.GetCreationTimestamp())
		}
		object.SetResourceVersion(strconv.FormatInt(w.now.Unix(), 10))
		k.server[nameOf(object)] = object
		k.stream = append(k.stream, change{name: nameOf(object), object: watched(object)})
	}
}

// watched returns what the watch delivers of an object: of Secrets it has one type
// only.
func watched(object client.Object) client.Object {
	if secret, ok := object.(*corev1.Secret); ok && secret.Type != corev1.SecretTypeTLS {
		return nil
	}
	return object
}

// remove deletes objects from the server.
func (w *world) remove(objects ...client.Object) {
	for _, object := range objects {
		k := w.kindOf(object)
		if _, ok := k.server[nameOf(object)]; ok {
			delete(k.server, nameOf(object))
			k.stream = append(k.stream, change{name: nameOf(object)})
		}
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
	key := next.name
	if key[0] == '/' { // of the whole cluster
		key = key[1:]
	}
	before, existed, err := k.store.GetByKey(key)
	if k.transform != nil && next.object != nil {
		trimmed, wrong := k.transform(next.object)
		next.object, err = trimmed.(client.Object), errors.Join(err, wrong)
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

// relist drops what happened in between: the stream broke, and the store will see
// only the result.
func (k *kind) relist() {
	last := map[string]int{}
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
	k.stream = stream
}

func (k *kind) tell(event func(toolscache.ResourceEventHandler)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.listeners {
		l.pending = append(l.pending, func() { event(l.handler) })
	}
}

// hear delivers the next event to one handler of the kind.
func (k *kind) hear(random *rand.Rand) {
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

// What follows makes world a cache.Cache.

// Get implements client.Reader from the store.
func (w *world) Get(_ context.Context, name client.ObjectKey, out client.Object, _ ...client.GetOption) error {
	defer w.pass()
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
	defer w.pass()
	o := (&client.ListOptions{}).ApplyOptions(opts)
	k := w.kindOfList(list)
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

// pass lets time pass.
func (w *world) pass() {
	if happens := w.meanwhile; happens != nil {
		w.meanwhile = nil
		happens()
		w.meanwhile = happens
	}
}

func (w *world) kindOfList(list client.ObjectList) *kind {
	items := reflect.ValueOf(list).Elem().FieldByName("Items").Type().Elem()
	return w.kindOf(reflect.New(items).Interface())
}

// IndexField implements client.FieldIndexer.
func (w *world) IndexField(_ context.Context, object client.Object, field string, values client.IndexerFunc) error {
	return w.kindOf(object).store.AddIndexers(toolscache.Indexers{field: func(o any) ([]string, error) {
		var keys []string
		for _, value := range values(o.(client.Object)) {
			keys = append(keys, "/"+value, o.(client.Object).GetNamespace()+"/"+value)
		}
		return keys, nil
	}})
}

func (w *world) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return informer{kind: w.kindOf(object)}, nil
}

func (w *world) GetInformerForKind(context.Context, schema.GroupVersionKind, ...cache.InformerGetOption) (cache.Informer, error) {
	return nil, errors.ErrUnsupported
}

func (w *world) RemoveInformer(context.Context, client.Object) error { return errors.ErrUnsupported }
func (w *world) Start(context.Context) error                         { return nil }
func (w *world) WaitForCacheSync(context.Context) bool               { return true }

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

// apiServer reads what the server has, as it is now.
type apiServer struct {
	world *world
	away  bool // the server does not answer
}

var errAway = errors.New("connection refused")

func (l *apiServer) Get(_ context.Context, name client.ObjectKey, out client.Object, _ ...client.GetOption) error {
	if l.away {
		return errAway
	}
	found, ok := l.world.kindOf(out).server[name.String()]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{}, name.String())
	}
	reflect.ValueOf(out).Elem().Set(reflect.ValueOf(found).Elem())
	return nil
}

func (l *apiServer) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if l.away {
		return errAway
	}
	o := (&client.ListOptions{}).ApplyOptions(opts)
	if named, ok := list.(*metav1.PartialObjectMetadataList); ok {
		of := client.Object(&corev1.Secret{})
		if named.Kind == "IngressList" {
			of = &networkingv1.Ingress{}
		}
		for _, object := range l.world.kindOf(of).server {
			if object.GetNamespace() == o.Namespace {
				named.Items = append(named.Items, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
					Namespace: o.Namespace, Name: object.GetName(), UID: object.GetUID(), ResourceVersion: object.GetResourceVersion(),
				}})
			}
		}
		return nil
	}
	var objects []runtime.Object
	for _, object := range l.world.kindOfList(list).server {
		if object.GetNamespace() == o.Namespace && (o.LabelSelector == nil || o.LabelSelector.Matches(labels.Set(object.GetLabels()))) {
			objects = append(objects, object)
		}
	}
	return meta.SetList(list, objects)
}

// unreadable is a world whose store answers nothing.
type unreadable struct{ *world }

func (unreadable) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errAway
}

func (unreadable) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errAway
}
