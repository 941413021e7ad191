package announcement

import (
	"context"
	"fmt"
	"time"

	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// connect makes the cache. It waits for the API server, which says what its kinds are.
func (s *Speaker) connect(ctx context.Context) error {
	ours := cache.ByObject{Namespaces: map[string]cache.Config{s.Namespace: {}}}
	selector, err := labels.Parse(loadbalancer.LeaseLabel)
	if err != nil {
		return err
	}
	ours.Label = selector
	return s.persist(ctx, func() (err error) {
		s.objects, err = cache.New(s.Config, cache.Options{
			Scheme: s.Scheme, ReaderFailOnMissingInformer: true, DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{&corev1.Node{}: {Transform: watch.TrimNode(keepReady)}, &coordination.Lease{}: ours},
		})
		return err
	})
}

// follow watches all that turns depend on, and returns when all of it has been read.
func (s *Speaker) follow(ctx context.Context) error {
	for _, kind := range []client.Object{&corev1.Node{}, &v1alpha1.AddressPool{}, &coordination.Lease{}} {
		if err := s.watch(ctx, s.objects, kind); err != nil {
			return err
		}
	}
	for _, kind := range []client.Object{&corev1.Service{}, &discoveryv1.EndpointSlice{}} {
		if err := s.watch(ctx, s.Slices, kind); err != nil {
			return err
		}
	}
	if !s.objects.WaitForCacheSync(ctx) || !s.Slices.WaitForCacheSync(ctx) {
		return context.Cause(ctx)
	}
	return nil
}

// watch watches a kind. It waits for one that the cluster does not have yet: agents may start
// before the custom resources are there.
func (s *Speaker) watch(ctx context.Context, objects cache.Cache, kind client.Object) error {
	var informer cache.Informer
	err := s.persist(ctx, func() (err error) {
		informer, err = objects.GetInformer(ctx, kind)
		return err
	})
	if err == nil {
		_, err = informer.AddEventHandler(s.events(ctx))
	}
	if err != nil {
		return fmt.Errorf("watch %T: %w", kind, err)
	}
	return nil
}

// persist tries until it works, or ctx ends.
func (s *Speaker) persist(ctx context.Context, try func() error) error {
	for told := false; ; told = true {
		err := try()
		if err == nil {
			return nil
		}
		if !told && ctx.Err() == nil {
			s.Log.Info("no address is taken yet: what says who has which cannot be read", "reason", err.Error())
		}
		if !pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
}
