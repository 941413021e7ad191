package replica

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairwaynet/fairway/api/installation"
)

// Watch tells view of the Leases of all replicas of an installation until ctx ends.
// There are few of them, and it reads no other Leases.
func Watch(ctx context.Context, leases typedv1.CoordinationV1Interface, namespace string, of installation.Name, view *View) error {
	source := cache.NewFilteredListWatchFromClient(leases.RESTClient(), "leases", namespace,
		func(options *metav1.ListOptions) { options.LabelSelector = Label + "=true," + of.Selector() })
	informer := cache.NewSharedInformer(source, &coordinationv1.Lease{}, 0)
	if err := informer.SetTransform(trim); err != nil {
		return fmt.Errorf("watch the leases of replicas: %w", err)
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { view.Update(object.(*coordinationv1.Lease)) },
		UpdateFunc: func(_, object any) { view.Update(object.(*coordinationv1.Lease)) },
		DeleteFunc: func(object any) {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			view.Remove(object.(*coordinationv1.Lease))
		},
	})
	if err != nil {
		return fmt.Errorf("watch the leases of replicas: %w", err)
	}
	informer.RunWithContext(ctx)
	return nil
}

func trim(object any) (any, error) {
	if lease, ok := object.(*coordinationv1.Lease); ok {
		lease.ManagedFields = nil
	}
	return object, nil
}

// RemoveExpired removes the Leases of replicas that are long gone, until ctx ends.
// Only the leader runs it.
func RemoveExpired(ctx context.Context, leases typedv1.LeasesGetter, namespace string, view *View) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		for _, name := range view.Relics() {
			err := leases.Leases(namespace).Delete(ctx, name, metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("remove the lease of a replica that is gone: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
