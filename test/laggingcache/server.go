package laggingcache

import (
	"context"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Server is a client.Reader of what the API server of a World has, as it is now.
type Server struct {
	World *World
	// Away says that it does not answer.
	Away bool
}

// Get implements client.Reader.
func (s *Server) Get(_ context.Context, name client.ObjectKey, out client.Object, _ ...client.GetOption) error {
	if s.Away {
		return ErrAway
	}
	found, ok := s.World.Kind(out).Server[name]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{}, name.String())
	}
	reflect.ValueOf(out).Elem().Set(reflect.ValueOf(found).Elem())
	return nil
}

// List implements client.Reader, also for metadata alone, which come in pages, if pages are
// asked for.
func (s *Server) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if s.Away {
		return ErrAway
	}
	o := (&client.ListOptions{}).ApplyOptions(opts)
	if named, ok := list.(*metav1.PartialObjectMetadataList); ok {
		s.listMetadata(named, o)
		return nil
	}
	var objects []runtime.Object
	for _, object := range s.World.kindOfList(list).selected(o) {
		objects = append(objects, object)
	}
	return meta.SetList(list, objects)
}

// selected are the objects that are asked for, in the order of their names.
func (k *Kind) selected(o *client.ListOptions) []client.Object {
	var all []client.Object
	for _, object := range k.Server {
		name := fields.Set{metav1.ObjectNameField: object.GetName()}
		if (o.Namespace == "" || o.Namespace == object.GetNamespace()) &&
			(o.LabelSelector == nil || o.LabelSelector.Matches(labels.Set(object.GetLabels()))) &&
			(o.FieldSelector == nil || o.FieldSelector.Matches(name)) {
			all = append(all, object)
		}
	}
	slices.SortFunc(all, func(a, b client.Object) int { return strings.Compare(nameOf(a), nameOf(b)) })
	return all
}

func nameOf(object client.Object) string { return client.ObjectKeyFromObject(object).String() }

// listMetadata continues behind the name that the last page ended with.
func (s *Server) listMetadata(list *metav1.PartialObjectMetadataList, o *client.ListOptions) {
	i := slices.IndexFunc(s.World.Kinds, func(k *Kind) bool {
		return reflect.TypeOf(k.empty).Elem().Name()+"List" == list.Kind
	})
	for _, object := range s.World.Kinds[i].selected(o) {
		if nameOf(object) <= o.Continue {
			continue
		}
		if o.Limit > 0 && len(list.Items) == int(o.Limit) {
			list.Continue = nameOf(&list.Items[len(list.Items)-1])
			return
		}
		list.Items = append(list.Items, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(), ResourceVersion: object.GetResourceVersion(),
		}})
	}
}
