package folder

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// live reads the store directly, as a client in a cluster reads from the API
// server. Informers are behind it, each by an amount of its own.
type live struct {
	store  *store
	scheme *runtime.Scheme
}

// Get implements client.Reader.
func (l live) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	kind, err := apiutil.GVKForObject(into, l.scheme)
	if err != nil {
		return err
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	found, ok := l.store.objects[ref{kind.Kind, key}]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, key.String())
	}
	from, to := reflect.ValueOf(found.DeepCopyObject()), reflect.ValueOf(into)
	if from.Type() != to.Type() {
		return fmt.Errorf("read %s: have %s, want %s", key, from.Type(), to.Type())
	}
	to.Elem().Set(from.Elem())
	return nil
}

// List implements client.Reader, without field selectors: those are indexes of a
// cache, and an API server does not have them either.
func (l live) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	kind, err := apiutil.GVKForObject(into, l.scheme)
	if err != nil {
		return err
	}
	var o client.ListOptions
	o.ApplyOptions(options)
	if o.FieldSelector != nil || o.Limit != 0 || o.Continue != "" {
		return errors.New("list: only namespaces and labels select")
	}
	found, _ := l.store.list(strings.TrimSuffix(kind.Kind, "List"), o.Namespace)
	var selected []runtime.Object
	for _, object := range found {
		if o.LabelSelector == nil || o.LabelSelector.Matches(labelsOf(object)) {
			selected = append(selected, object.DeepCopyObject())
		}
	}
	if named, ok := into.(*metav1.PartialObjectMetadataList); ok {
		for _, object := range selected {
			if o, ok := object.(client.Object); ok {
				named.Items = append(named.Items, metadataOf(o))
			}
		}
		return nil
	}
	return meta.SetList(into, selected)
}

// metadataOf returns what names an object and its version.
func metadataOf(object client.Object) metav1.PartialObjectMetadata {
	return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(), ResourceVersion: object.GetResourceVersion(),
		Labels: object.GetLabels(),
	}}
}
