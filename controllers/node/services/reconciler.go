package services

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/node/speaker"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/proxy/service"
)

// Key is the name of a Service.
type Key = types.NamespacedName

// Publisher takes what Services are. A *keeper.Keeper of proxy is one.
type Publisher interface {
	Publish(name types.NamespacedName, s *service.Service)
	PublishCluster(c service.Cluster)
}

// Reporter takes the Problems of a key.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Reconciler keeps the Services of one node.
type Reconciler struct {
	Config

	Node      string        // its name
	Objects   client.Reader // a cache with Index
	Publisher Publisher
	Reporter  Reporter

	// troubled are the Services with Problems, whichever node tells of them: when nodes come
	// and go, another may have to. It is the only memory, and what is published does not
	// depend on it.
	mu       sync.Mutex
	troubled map[Key]bool
}

// byService is the field by which EndpointSlices are found.
const byService = "service"

// Index adds to a cache what a Reconciler looks up.
func Index(ctx context.Context, objects cache.Cache) error {
	return objects.IndexField(ctx, &discoveryv1.EndpointSlice{}, byService, func(object client.Object) []string {
		if name := object.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
			return []string{name}
		}
		return nil
	})
}

// Keys implements assembly.Builder.
func (r *Reconciler) Keys(ctx context.Context) ([]Key, error) { return r.keys(ctx, every) }

func every(*corev1.Service) bool { return true }

// outer says whether a Service may have addresses that are not the cluster's. What it is
// depends on what the cluster's addresses are.
func outer(s *corev1.Service) bool {
	return len(s.Status.LoadBalancer.Ingress) > 0 || len(s.Spec.ExternalIPs) > 0
}

// keys are the Services that meet a condition.
func (r *Reconciler) keys(ctx context.Context, are func(*corev1.Service) bool) ([]Key, error) {
	var all corev1.ServiceList
	if err := r.Objects.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	var keys []Key
	for i := range all.Items {
		if are(&all.Items[i]) {
			keys = append(keys, client.ObjectKeyFromObject(&all.Items[i]))
		}
	}
	return keys, nil
}

// Build implements assembly.Builder.
func (r *Reconciler) Build(ctx context.Context, name Key) (*service.Service, []problem.Problem, error) {
	var object corev1.Service
	if err := r.Objects.Get(ctx, name, &object, client.UnsafeDisableDeepCopy); err != nil {
		if apierrors.IsNotFound(err) {
			r.note(name, false)
			return nil, nil, nil
		}
		return nil, nil, fmt.Errorf("read the Service: %w", err)
	}
	slices, err := r.slices(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	own, err := r.own(ctx)
	if err != nil {
		return nil, nil, err
	}
	node := service.Node{Name: r.Node, Zone: own.Labels[corev1.LabelTopologyZone], ExternalIPs: r.ExternalIPs}
	if outer(&object) {
		if node.Reserved, err = r.reserved(ctx); err != nil {
			return nil, nil, err
		}
	}
	built, problems := service.Build(&object, slices, node)
	r.note(name, len(problems) > 0) // before the Nodes are read: from now on their events wake the key
	if len(problems) == 0 {
		return built, nil, nil
	}
	nodes, err := r.nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !speaker.Speaks(r.Node, nodes, name) {
		problems = nil // what is wrong with the object is told once, and not by each node
	}
	return built, problems, nil
}

func (r *Reconciler) note(name Key, troubled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !troubled {
		delete(r.troubled, name)
		return
	}
	if r.troubled == nil {
		r.troubled = map[Key]bool{}
	}
	r.troubled[name] = true
}

// own is the Node of this node; empty if there is none yet.
func (r *Reconciler) own(ctx context.Context) (*corev1.Node, error) {
	var node corev1.Node
	err := r.Objects.Get(ctx, client.ObjectKey{Name: r.Node}, &node, client.UnsafeDisableDeepCopy)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read the Node: %w", err)
	}
	return &node, nil
}

func (r *Reconciler) slices(ctx context.Context, name Key) ([]*discoveryv1.EndpointSlice, error) {
	return SlicesOf(ctx, r.Objects, name)
}

// SlicesOf are the EndpointSlices of a Service in a cache with Index.
func SlicesOf(ctx context.Context, objects client.Reader, name Key) ([]*discoveryv1.EndpointSlice, error) {
	var all discoveryv1.EndpointSliceList
	err := objects.List(ctx, &all, client.InNamespace(name.Namespace), client.MatchingFields{byService: name.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	slices := make([]*discoveryv1.EndpointSlice, 0, len(all.Items))
	for i := range all.Items {
		slices = append(slices, &all.Items[i])
	}
	return slices, nil
}

func (r *Reconciler) nodes(ctx context.Context) ([]corev1.Node, error) {
	var all corev1.NodeList
	if err := r.Objects.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Nodes: %w", err)
	}
	return all.Items, nil
}

// Publish hands over what a Service is.
func (r *Reconciler) Publish(name Key, s *service.Service) { r.Publisher.Publish(name, s) }

// Reconcile implements reconcile.TypedReconciler.
func (r *Reconciler) Reconcile(ctx context.Context, name Key) (reconcile.Result, error) {
	built, problems, err := r.Build(ctx, name)
	if err != nil {
		return reconcile.Result{}, err
	}
	r.Publish(name, built)
	r.Reporter.Report(ctx, name, problems)
	return reconcile.Result{}, nil
}

// Sources wake the keys of objects that change.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[Key] {
	return []source.TypedSource[Key]{
		watch.Source(objects, &corev1.Service{}, essence, func(_ context.Context, s *corev1.Service) ([]Key, error) {
			return []Key{client.ObjectKeyFromObject(s)}, nil
		}),
		watch.Source(objects, &discoveryv1.EndpointSlice{}, version, func(_ context.Context, s *discoveryv1.EndpointSlice) ([]Key, error) {
			name := s.Labels[discoveryv1.LabelServiceName]
			if name == "" {
				return nil, nil
			}
			return []Key{{Namespace: s.Namespace, Name: name}}, nil
		}),
		watch.Source(objects, &corev1.Node{}, place, r.concerned),
		watch.Source(objects, &networkingv1.ServiceCIDR{}, spans, func(ctx context.Context, _ *networkingv1.ServiceCIDR) ([]Key, error) {
			return r.keys(ctx, outer)
		}),
	}
}

// essence is what of a Service counts.
func essence(s *corev1.Service) any {
	return corev1.Service{ObjectMeta: watch.Meta(s.ObjectMeta), Spec: s.Spec, Status: s.Status}
}

// version is what of an EndpointSlice counts: of two that name one endpoint the newer one
// does, so that every update can change what a Service is.
func version(s *discoveryv1.EndpointSlice) any {
	return []any{s.UID, s.ResourceVersion, s.Labels}
}

// place is what of a Node counts for Services.
func place(node *corev1.Node) any {
	return []any{node.UID, node.Labels[corev1.LabelTopologyZone], node.Status.Addresses, node.Spec.PodCIDRs, leaving(node)}
}

func spans(c *networkingv1.ServiceCIDR) any { return c.Spec }

// concerned are the Services whose picture, or whose teller of Problems, depends on a Node:
// this node's zone decides for all of them which endpoints are near.
func (r *Reconciler) concerned(ctx context.Context, node *corev1.Node) ([]Key, error) {
	if node.Name == r.Node {
		return r.keys(ctx, every)
	}
	return r.keys(ctx, func(s *corev1.Service) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return outer(s) || r.troubled[client.ObjectKeyFromObject(s)]
	})
}
