package network

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/podnetwork"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/keeper"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
)

// Key is the name of the node.
type Key string

// Publisher takes what is wanted. A *keeper.Keeper is one.
type Publisher interface{ Publish(keeper.Wanted) }

// Reporter takes the Problems of a key.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Reconciler keeps one node's network.
type Reconciler struct {
	Config

	Name       Key
	Nodes      client.Reader // a cache
	Writer     client.Writer
	Interfaces func() ([]link.Interface, error)
	Publisher  Publisher
	// Describe takes the status of the node's network, but for its Problems and the use of
	// its ranges, before the Publisher is called.
	Describe func(podnetwork.Status)
	Reporter Reporter

	mu   sync.Mutex
	wake func() // set once the queue exists
}

// Wake reconciles again: something of the node has changed.
func (r *Reconciler) Wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wake != nil {
		r.wake()
	}
}

// Sources wake the key: a Node that changes in what counts, and Wake.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[Key] {
	own := func(context.Context, *corev1.Node) ([]Key, error) { return []Key{r.Name}, nil }
	return []source.TypedSource[Key]{
		watch.Source(objects, &corev1.Node{}, essence, own),
		source.TypedFunc[Key](func(_ context.Context, queue workqueue.TypedRateLimitingInterface[Key]) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.wake = func() { queue.Add(r.Name) }
			r.wake() // what the first pass has published is also told
			return nil
		}),
	}
}

// essence is what of a Node counts. The cache has dropped the rest.
func essence(node *corev1.Node) any {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{UID: node.UID, Annotations: node.Annotations}, Spec: node.Spec, Status: node.Status,
	}
}

// GoingTaint says that the cluster's autoscaler is about to remove a node.
const GoingTaint = "ToBeDeletedByClusterAutoscaler"

// Trim keeps of a Node what the agent reads: a cluster has thousands, each with a list of
// images, and its kubelet writes its conditions all the time. The status that its agent
// writes for people goes, too, so it wakes nobody.
func Trim(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil // the notice of an event that the stream missed
	}
	node.ManagedFields = nil
	if zone, ok := node.Labels[corev1.LabelTopologyZone]; ok {
		node.Labels = map[string]string{corev1.LabelTopologyZone: zone}
	} else {
		node.Labels = nil
	}
	if text, ok := node.Annotations[podnetwork.FactsAnnotation]; ok {
		node.Annotations = map[string]string{podnetwork.FactsAnnotation: text}
	} else {
		node.Annotations = nil
	}
	node.Spec = corev1.NodeSpec{
		PodCIDRs: node.Spec.PodCIDRs,
		Taints:   slices.DeleteFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key != GoingTaint }),
	}
	node.Status = corev1.NodeStatus{
		Addresses: slices.DeleteFunc(node.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type != corev1.NodeInternalIP }),
		Conditions: slices.DeleteFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type != corev1.NodeNetworkUnavailable
		}),
	}
	return node, nil
}

// Keys implements assembly.Builder.
func (r *Reconciler) Keys(context.Context) ([]Key, error) { return []Key{r.Name}, nil }

// Build implements assembly.Builder.
func (r *Reconciler) Build(ctx context.Context, name Key) (*Picture, []problem.Problem, error) {
	var nodes corev1.NodeList
	if err := r.Nodes.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, fmt.Errorf("list nodes: %w", err)
	}
	interfaces, err := r.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	picture, problems := r.Config.Build(string(name), nodes.Items, interfaces)
	return picture, problems, nil
}

// Publish hands over what is wanted, and what people should know of it. Where the node itself
// is unknown or has no usable address, nothing can be decided. Then what is in the kernel and
// what other agents know stays: a Node that somebody deletes comes back with the next word of
// its kubelet, and its pods run on.
func (r *Reconciler) Publish(_ Key, picture *Picture) {
	r.Describe(picture.Status)
	if picture.Decided() {
		r.Publisher.Publish(picture.Wanted)
	}
}

// Reconcile implements reconcile.TypedReconciler.
func (r *Reconciler) Reconcile(ctx context.Context, name Key) (reconcile.Result, error) {
	picture, problems, err := r.Build(ctx, name)
	if err != nil {
		return reconcile.Result{}, err
	}
	r.Publish(name, picture)
	r.Reporter.Report(ctx, name, problems)
	if !picture.Decided() {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, r.tell(ctx, picture.Facts)
}

// tell writes the facts onto the Node if they are not there.
func (r *Reconciler) tell(ctx context.Context, facts podnetwork.Facts) error {
	var node corev1.Node
	if err := r.Nodes.Get(ctx, types.NamespacedName{Name: string(r.Name)}, &node); err != nil {
		if apierrors.IsNotFound(err) {
			return nil // the kubelet has not registered it yet: its event wakes us
		}
		return fmt.Errorf("tell of the node: %w", err)
	}
	if text := facts.Text(); node.Annotations[podnetwork.FactsAnnotation] != text {
		if err := Annotate(ctx, r.Writer, r.Name, podnetwork.FactsAnnotation, text); err != nil {
			return fmt.Errorf("tell the other nodes of this one: %w", err)
		}
	}
	return nil
}

// Annotate writes an annotation of a Node.
func Annotate(ctx context.Context, writer client.Writer, name Key, annotation, text string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotation: text}}})
	if err != nil {
		return err
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: string(name)}}
	return writer.Patch(ctx, node, client.RawPatch(types.MergePatchType, patch))
}
