package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-logr/logr"
	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// Reporter takes the Problems of a key.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Allocator gives addresses to Services, for as long as this replica leads.
type Allocator struct {
	Config    *rest.Config
	Scheme    *runtime.Scheme
	Namespace string // of the Leases
	Class     loadbalancer.Class
	// Reporter makes the Reporter of a term, which finds objects in a cache. When the term ends,
	// end is called.
	Reporter func(objects client.Reader) (r Reporter, end func())
	Log      logr.Logger
}

// Lead gives addresses until ctx ends. Each term begins with a list of all that there is.
func (a *Allocator) Lead(ctx context.Context) error {
	objects, err := newCache(a.Config, a.Scheme, a.Namespace)
	if err != nil {
		return fmt.Errorf("give addresses: %w", err)
	}
	direct, err := client.New(a.Config, client.Options{Scheme: a.Scheme})
	if err != nil {
		return fmt.Errorf("give addresses: %w", err)
	}
	leases, err := coordinationv1.NewForConfig(a.Config)
	if err != nil {
		return fmt.Errorf("give addresses: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &term{
		Allocator: a, objects: objects, direct: direct, leases: leases.Leases(a.Namespace), book: loadbalancer.NewBook(),
		foreign: map[key]time.Time{}, began: map[key]time.Time{}, others: map[types.NamespacedName][]netip.Addr{}, owned: map[types.NamespacedName]bool{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[key](firstRetry, lastRetry)),
	}
	reporter, forget := a.Reporter(objects)
	defer forget()
	t.reporter = reporter
	ended := make(chan error, 1)
	go func() { ended <- objects.Start(ctx) }()
	err = t.lead(ctx, objects)
	cancel()
	t.queue.ShutDown()
	return errors.Join(err, <-ended)
}

// lead works with objects from when all were read.
func (t *term) lead(ctx context.Context, objects cache.Cache) error {
	for _, kind := range []client.Object{
		&corev1.Service{}, &corev1.Namespace{}, &corev1.Node{}, &networkingv1.ServiceCIDR{}, &v1alpha1.AddressPool{}, &coordination.Lease{},
	} {
		informer, err := objects.GetInformer(ctx, kind)
		if err == nil {
			_, err = informer.AddEventHandler(t.wake())
		}
		if err != nil {
			return watch.UnlessEnded(ctx, fmt.Errorf("give addresses: watch: %w", err))
		}
	}
	if !objects.WaitForCacheSync(ctx) {
		return nil
	}
	return t.run(ctx)
}

const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// key of the queue: a Service, an AddressPool, or all pools.
type key struct {
	kind string
	name types.NamespacedName
}

// Kinds of keys.
const (
	serviceKind = "service"
	poolKind    = "pool"
	poolsKind   = "pools" // what can be given
	recordKind  = "record"
)

// wake turns events into keys.
func (t *term) wake() toolscache.ResourceEventHandler {
	hear := func(object any) {
		if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		o, ok := object.(metav1.Object)
		if !ok {
			return
		}
		name := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
		switch object.(type) {
		case *corev1.Service:
			t.queue.Add(key{serviceKind, name})
		case *coordination.Lease:
			t.queue.Add(key{recordKind, name})
		default: // what pools can give, and to whom
			t.queue.Add(key{kind: poolsKind})
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: hear, DeleteFunc: hear,
		UpdateFunc: func(before, now any) {
			if !watch.IsSameNode(before, now) {
				hear(now)
			}
		},
	}
}
