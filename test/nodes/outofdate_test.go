package nodes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/controllers/node/services"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/proxy/service"
)

// deaf is an informer whose watch loses all changes of EndpointSlices while it is deaf.
type deaf struct {
	toolscache.ListerWatcher // the way of before, which nobody takes
	toolscache.ListerWatcherWithContext

	deaf *atomic.Bool
}

// WatchWithContext implements toolscache.WatcherWithContext.
func (d deaf) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := d.ListerWatcherWithContext.WatchWithContext(ctx, options)
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, func(event watch.Event) (watch.Event, bool) {
		_, is := event.Object.(*discoveryv1.EndpointSlice)
		return event, !is || !d.deaf.Load()
	}), nil
}

// The cache of an agent loses one event of the API server's. A comparison with the API server
// finds that, and nothing before.
func testALostEventIsFound(t *testing.T, w *world) {
	log.SetLogger(logr.Discard())
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	cached, err := services.Cached()
	if err != nil {
		t.Fatal(err)
	}
	var lost atomic.Bool
	objects, err := cache.New(w.Config, cache.Options{
		Scheme: scheme, ByObject: cached,
		NewInformer: func(from toolscache.ListerWatcher, of runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
			return toolscache.NewSharedIndexInformer(deaf{from, toolscache.ToListerWatcherWithContext(from), &lost}, of, resync, indexers)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	live, err := client.New(w.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := services.Index(ctx, objects); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- objects.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for _, kind := range []client.Object{&corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Node{}} {
		if _, err := objects.GetInformer(ctx, kind); err != nil {
			t.Fatal(err)
		}
	}

	s := w.shop(t, corev1.ServiceExternalTrafficPolicyCluster)
	slice := w.slice(t, s, "10.244.0.1")
	known := func(version string) func() error {
		return func() error {
			var has discoveryv1.EndpointSlice
			if err := objects.Get(ctx, client.ObjectKeyFromObject(slice), &has); err != nil || has.ResourceVersion != version {
				return fmt.Errorf("the cache has version %q, not %s: %w", has.ResourceVersion, version, err)
			}
			return nil
		}
	}
	eventually(t, "the slice is known", patience, known(slice.ResourceVersion))
	reconciler := &services.Reconciler{Node: "n1", Objects: objects}
	comparisons := 0
	comparison := services.Comparison{
		Reconciler: reconciler, Live: live, Suspected: func(int) {},
		Published: func() map[types.NamespacedName]*service.Service { return published(ctx, t, reconciler) },
		Compared: func(_ context.Context, differences []services.Difference, err error) {
			comparisons++
			if err != nil {
				t.Errorf("comparison %d: %v", comparisons, err)
			}
			if comparisons > 1 {
				return
			}
			if len(differences) > 0 {
				t.Errorf("nothing was lost, and it finds %v", differences)
			}
			lost.Store(true)
			w.slice(t, s, "10.244.0.2")
		},
		Wait: func(context.Context, time.Duration, time.Duration) {},
	}
	err = comparison.Run(ctx)
	if want := "EndpointSlice default/" + slice.Name + " "; !errors.Is(err, services.ErrOutOfDate) || !strings.Contains(err.Error(), want) {
		t.Errorf("it ends with %v, want %s", err, want)
	}
	if comparisons != 2 {
		t.Errorf("%d comparisons", comparisons)
	}
}

// published is what a reconciler publishes of all Services.
func published(ctx context.Context, t *testing.T, r *services.Reconciler) map[types.NamespacedName]*service.Service {
	t.Helper()
	names, err := r.Keys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all := map[types.NamespacedName]*service.Service{}
	for _, name := range names {
		if all[name], _, err = r.Build(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// slice makes an address the one endpoint of a Service, in one write.
func (w *world) slice(t *testing.T, s *corev1.Service, address string) *discoveryv1.EndpointSlice {
	t.Helper()
	written := w.client.DiscoveryV1().EndpointSlices(s.Namespace)
	port, name := int32(8080), "http"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name + "-one", Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
			Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: time.Now().Format(time.RFC3339Nano)},
		},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{netip.MustParseAddr(address).String()}}},
	}
	made, err := written.Update(t.Context(), slice, metav1.UpdateOptions{})
	if err != nil {
		made, err = written.Create(t.Context(), slice, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}
