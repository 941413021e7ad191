package declared

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/controllers/replicas/leaderelected"
)

// kind is a kind of objects that can be declared.
type kind struct {
	name   string
	object func() client.Object
	list   func() client.ObjectList
	// watch makes events of the kind wake keys. A cluster without the kind is an
	// error.
	watch func(context.Context, *leaderelected.Controller[Key], cache.Cache) error
}

// poolKind is declared where the controller gives addresses.
const poolKind = "AddressPool"

// kinds returns the kinds that can be declared. Each is of cluster scope.
func kinds() []kind {
	return []kind{
		{
			"ClusterGatewayConfig", func() client.Object { return &v1alpha1.ClusterGatewayConfig{} },
			func() client.ObjectList { return &v1alpha1.ClusterGatewayConfigList{} },
			func(ctx context.Context, c *leaderelected.Controller[Key], objects cache.Cache) error {
				return watchKind(ctx, c, objects, "ClusterGatewayConfig", &v1alpha1.ClusterGatewayConfig{}, watch.ClusterGatewayConfig)
			},
		},
		{
			"Issuer", func() client.Object { return &v1alpha1.Issuer{} },
			func() client.ObjectList { return &v1alpha1.IssuerList{} },
			func(ctx context.Context, c *leaderelected.Controller[Key], objects cache.Cache) error {
				return watchKind(ctx, c, objects, "Issuer", &v1alpha1.Issuer{}, watch.Issuer)
			},
		},
		{
			poolKind, func() client.Object { return &v1alpha1.AddressPool{} },
			func() client.ObjectList { return &v1alpha1.AddressPoolList{} },
			func(ctx context.Context, c *leaderelected.Controller[Key], objects cache.Cache) error {
				return watchKind(ctx, c, objects, poolKind, &v1alpha1.AddressPool{}, watch.AddressPool)
			},
		},
	}
}

func declarable(name string) bool {
	for _, k := range kinds() {
		if k.name == name {
			return true
		}
	}
	return false
}

// watchKind wakes the key of an object also when its owner changes, or when it
// begins to be deleted.
func watchKind[O client.Object](ctx context.Context, c *leaderelected.Controller[Key], objects cache.Cache, name string, object O, essence watch.Essence[O]) error {
	return leaderelected.Watch(ctx, c, objects, object,
		func(o O) any { return []any{essence(o), o.GetOwnerReferences(), o.GetDeletionTimestamp()} },
		func(_ context.Context, o O) ([]Key, error) { return []Key{{name, o.GetName()}}, nil })
}

// find returns the object of a key as the cache has it, nil if there is none.
func find(ctx context.Context, objects client.Reader, key Key) (client.Object, error) {
	for _, k := range kinds() {
		if k.name != key.Kind {
			continue
		}
		object := k.object()
		switch err := objects.Get(ctx, client.ObjectKey{Name: key.Name}, object, client.UnsafeDisableDeepCopy); {
		case apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("get %s: %w", key, err)
		}
		return object, nil
	}
	return nil, nil
}

// marked returns the keys of all objects with the label, of the kinds that the
// cache knows.
func marked(ctx context.Context, objects client.Reader, knows func(kind string) bool, mark string) ([]Key, error) {
	var keys []Key
	for _, k := range kinds() {
		if !knows(k.name) {
			continue
		}
		list := k.list()
		err := objects.List(ctx, list, client.MatchingLabels{Label: mark}, client.UnsafeDisableDeepCopy)
		if err == nil {
			err = meta.EachListItem(list, func(item runtime.Object) error {
				if object, ok := item.(metav1.Object); ok {
					keys = append(keys, Key{k.name, object.GetName()})
				}
				return nil
			})
		}
		if err != nil {
			return nil, fmt.Errorf("list objects of kind %s: %w", k.name, err)
		}
	}
	return keys, nil
}

// configMapEssence is all of a ConfigMap that is read.
func configMapEssence(object *corev1.ConfigMap) any { return []any{object.UID, object.Data} }
