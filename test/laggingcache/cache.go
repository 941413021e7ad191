package laggingcache

import (
	"context"
	"errors"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Get implements client.Reader from the cache. It does not copy.
func (w *World) Get(_ context.Context, name client.ObjectKey, out client.Object, _ ...client.GetOption) error {
	defer w.pass()
	found, exists, err := w.Kind(out).store.GetByKey(toolscache.NewObjectName(name.Namespace, name.Name).String())
	if err != nil {
		return err
	}
	if !exists {
		return apierrors.NewNotFound(schema.GroupResource{}, name.String())
	}
	reflect.ValueOf(out).Elem().Set(reflect.ValueOf(found).Elem())
	return nil
}

// List implements client.Reader from the cache. It knows fields that are indexed.
func (w *World) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
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
	objects := make([]runtime.Object, 0, len(found))
	for _, each := range found {
		if object := each.(client.Object); o.Namespace == "" || o.Namespace == object.GetNamespace() {
			objects = append(objects, object)
		}
	}
	return meta.SetList(list, objects)
}

// pass lets time pass.
func (w *World) pass() {
	if happens := w.Meanwhile; happens != nil {
		w.Meanwhile = nil
		happens()
		w.Meanwhile = happens
	}
}

func (w *World) kindOfList(list client.ObjectList) *Kind {
	items := reflect.ValueOf(list).Elem().FieldByName("Items").Type().Elem()
	return w.kindOf(reflect.PointerTo(items))
}

// IndexField implements client.FieldIndexer.
func (w *World) IndexField(_ context.Context, object client.Object, field string, values client.IndexerFunc) error {
	return w.Kind(object).store.AddIndexers(toolscache.Indexers{field: func(o any) ([]string, error) {
		var keys []string
		for _, value := range values(o.(client.Object)) {
			keys = append(keys, "/"+value, o.(client.Object).GetNamespace()+"/"+value)
		}
		return keys, nil
	}})
}

// GetInformer implements cache.Informers.
func (w *World) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return informer{kind: w.Kind(object)}, nil
}

// GetInformerForKind implements cache.Informers: nobody calls it.
func (w *World) GetInformerForKind(context.Context, schema.GroupVersionKind, ...cache.InformerGetOption) (cache.Informer, error) {
	return nil, errors.ErrUnsupported
}

// RemoveInformer implements cache.Informers: nobody calls it.
func (w *World) RemoveInformer(context.Context, client.Object) error { return errors.ErrUnsupported }

// Start implements cache.Informers.
func (w *World) Start(context.Context) error { return nil }

// WaitForCacheSync implements cache.Informers.
func (w *World) WaitForCacheSync(context.Context) bool { return true }

// informer is a kind as its handlers see it.
type informer struct {
	cache.Informer // for the methods that are never called

	kind *Kind
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

// HasSynced implements toolscache.ResourceEventHandlerRegistration.
func (registration) HasSynced() bool { return true }

// Unreadable is a World whose cache answers nothing.
type Unreadable struct{ *World }

// Get implements client.Reader.
func (Unreadable) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return ErrAway
}

// List implements client.Reader.
func (Unreadable) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return ErrAway
}
