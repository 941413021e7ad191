package policies

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/node/speaker"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// Keys of the three kinds.
type (
	// PodKey is the name of a Pod.
	PodKey types.NamespacedName
	// NamespaceKey is the name of a Namespace.
	NamespaceKey string
	// PolicyKey is the name of a NetworkPolicy.
	PolicyKey types.NamespacedName
)

// Publisher takes what objects are. An *enforce.Enforcer is one.
type Publisher interface {
	PublishPod(name policy.Key, p *policy.Pod)
	PublishNamespace(name string, has labels.Set)
	PublishPolicy(name policy.Key, p *policy.Policy)
}

// Reporter takes the Problems of a key.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Objects are the objects of a cluster as one node needs them.
type Objects struct {
	Node      string        // its name
	Cache     client.Reader // of all Pods, Namespaces, NetworkPolicies and Nodes
	Publisher Publisher
	Reporter  Reporter
}

// get reads an object; false: there is none.
func get(ctx context.Context, from client.Reader, name types.NamespacedName, object client.Object) (bool, error) {
	err := from.Get(ctx, name, object, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %T %s: %w", object, name, err)
	}
	return true, nil
}

// Pods tells of Pods.
type Pods struct{ *Objects }

// Keys implements assembly.Builder.
func (p Pods) Keys(ctx context.Context) ([]PodKey, error) {
	var all corev1.PodList
	if err := p.Cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	keys := make([]PodKey, len(all.Items))
	for i := range all.Items {
		keys[i] = PodKey(client.ObjectKeyFromObject(&all.Items[i]))
	}
	return keys, nil
}

// Build implements assembly.Builder.
func (p Pods) Build(ctx context.Context, name PodKey) (*policy.Pod, []problem.Problem, error) {
	var object corev1.Pod
	there, err := get(ctx, p.Cache, types.NamespacedName(name), &object)
	if !there {
		return nil, nil, err
	}
	return policy.PodOf(&object), nil, nil
}

// Publish hands over what a Pod is.
func (p Pods) Publish(name PodKey, pod *policy.Pod) { p.Publisher.PublishPod(policy.Key(name), pod) }

// Reconcile implements reconcile.TypedReconciler.
func (p Pods) Reconcile(ctx context.Context, name PodKey) (reconcile.Result, error) {
	pod, _, err := p.Build(ctx, name)
	if err == nil {
		p.Publish(name, pod)
	}
	return reconcile.Result{}, err
}

// Sources wake the keys of Pods that change.
func (p Pods) Sources(objects cache.Cache) []source.TypedSource[PodKey] {
	return []source.TypedSource[PodKey]{watch.Source(objects, &corev1.Pod{}, what, func(_ context.Context, pod *corev1.Pod) ([]PodKey, error) {
		return []PodKey{PodKey(client.ObjectKeyFromObject(pod))}, nil
	})}
}

// what of a Pod counts.
func what(p *corev1.Pod) any {
	return []any{p.UID, p.Labels, p.Annotations, p.CreationTimestamp, p.DeletionTimestamp != nil, p.Spec, p.Status}
}

// Namespaces tells of Namespaces.
type Namespaces struct{ *Objects }

// Keys implements assembly.Builder.
func (n Namespaces) Keys(ctx context.Context) ([]NamespaceKey, error) {
	var all corev1.NamespaceList
	if err := n.Cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Namespaces: %w", err)
	}
	keys := make([]NamespaceKey, len(all.Items))
	for i := range all.Items {
		keys[i] = NamespaceKey(all.Items[i].Name)
	}
	return keys, nil
}

// Build implements assembly.Builder.
func (n Namespaces) Build(ctx context.Context, name NamespaceKey) (*labels.Set, []problem.Problem, error) {
	var object corev1.Namespace
	there, err := get(ctx, n.Cache, types.NamespacedName{Name: string(name)}, &object)
	if !there {
		return nil, nil, err
	}
	has := labels.Set(object.Labels)
	if has == nil {
		has = labels.Set{} // nil: there is no such namespace
	}
	return &has, nil, nil
}

// Publish hands over which labels a Namespace has.
func (n Namespaces) Publish(name NamespaceKey, has *labels.Set) {
	if has == nil {
		n.Publisher.PublishNamespace(string(name), nil)
		return
	}
	n.Publisher.PublishNamespace(string(name), *has)
}

// Reconcile implements reconcile.TypedReconciler.
func (n Namespaces) Reconcile(ctx context.Context, name NamespaceKey) (reconcile.Result, error) {
	has, _, err := n.Build(ctx, name)
	if err == nil {
		n.Publish(name, has)
	}
	return reconcile.Result{}, err
}

// Sources wake the keys of Namespaces that change.
func (n Namespaces) Sources(objects cache.Cache) []source.TypedSource[NamespaceKey] {
	return []source.TypedSource[NamespaceKey]{watch.Source(objects, &corev1.Namespace{},
		func(n *corev1.Namespace) any { return []any{n.UID, n.Labels} },
		func(_ context.Context, n *corev1.Namespace) ([]NamespaceKey, error) {
			return []NamespaceKey{NamespaceKey(n.Name)}, nil
		})}
}

// Policies tells of NetworkPolicies.
type Policies struct{ *Objects }

// Keys implements assembly.Builder.
func (p Policies) Keys(ctx context.Context) ([]PolicyKey, error) {
	var all networkingv1.NetworkPolicyList
	if err := p.Cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list NetworkPolicies: %w", err)
	}
	keys := make([]PolicyKey, len(all.Items))
	for i := range all.Items {
		keys[i] = PolicyKey(client.ObjectKeyFromObject(&all.Items[i]))
	}
	return keys, nil
}

// Build implements assembly.Builder.
func (p Policies) Build(ctx context.Context, name PolicyKey) (*policy.Policy, []problem.Problem, error) {
	var object networkingv1.NetworkPolicy
	there, err := get(ctx, p.Cache, types.NamespacedName(name), &object)
	if !there {
		return nil, nil, err
	}
	parsed, problems := policy.Parse(&object)
	if len(problems) == 0 {
		return parsed, nil, nil
	}
	var nodes corev1.NodeList
	if err := p.Cache.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, fmt.Errorf("list Nodes: %w", err)
	}
	if !speaker.Speaks(p.Node, nodes.Items, types.NamespacedName(name)) {
		problems = nil // each node finds them, and one tells
	}
	return parsed, problems, nil
}

// Publish hands over what a NetworkPolicy says.
func (p Policies) Publish(name PolicyKey, parsed *policy.Policy) {
	p.Publisher.PublishPolicy(policy.Key(name), parsed)
}

// Reconcile implements reconcile.TypedReconciler.
func (p Policies) Reconcile(ctx context.Context, name PolicyKey) (reconcile.Result, error) {
	parsed, problems, err := p.Build(ctx, name)
	if err != nil {
		return reconcile.Result{}, err
	}
	p.Publish(name, parsed)
	p.Reporter.Report(ctx, name, problems)
	return reconcile.Result{}, nil
}

// Sources wake the keys of NetworkPolicies that change.
func (p Policies) Sources(objects cache.Cache) []source.TypedSource[PolicyKey] {
	return []source.TypedSource[PolicyKey]{watch.Source(objects, &networkingv1.NetworkPolicy{},
		func(np *networkingv1.NetworkPolicy) any { return []any{np.UID, np.Spec} },
		func(_ context.Context, np *networkingv1.NetworkPolicy) ([]PolicyKey, error) {
			return []PolicyKey{PolicyKey(client.ObjectKeyFromObject(np))}, nil
		})}
}
