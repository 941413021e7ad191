package snapshot

import (
	"context"
	"errors"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
)

// PermissionError is a permission that the user lacks.
type PermissionError struct {
	Verb, Resource string // "list", "leases.coordination.k8s.io"
	Namespace      string // empty: in all
	Cause          error
}

// Error says which permission is missing.
func (m *PermissionError) Error() string {
	where := "in all namespaces"
	if m.Namespace != "" {
		where = "in namespace " + m.Namespace
	}
	return fmt.Sprintf("you need the permission to %s %s %s", m.Verb, m.Resource, where)
}

// Unwrap returns the API server's error.
func (m *PermissionError) Unwrap() error { return m.Cause }

// Reader reads a cluster with the permissions of its user.
type Reader struct {
	client.Reader
	// CustomResources reads what the API server publishes of Fairway's custom
	// resources (customresources.Document); nil: it is not asked.
	CustomResources func(context.Context) ([]byte, error)
}

// Routing returns what decides which gateway serves what, and how: IngressClasses,
// Ingresses, and the configurations of gateways.
func (r Reader) Routing(ctx context.Context) ([]client.Object, error) {
	var all []client.Object
	var wrong []error
	for _, kind := range []struct {
		list     client.ObjectList
		resource string
	}{
		{&networkingv1.IngressClassList{}, "ingressclasses.networking.k8s.io"},
		{&networkingv1.IngressList{}, "ingresses.networking.k8s.io"},
		{&v1alpha1.ClusterGatewayConfigList{}, "clustergatewayconfigs.fairway.dev"},
		{&v1alpha1.GatewayConfigList{}, "gatewayconfigs.fairway.dev"},
	} {
		found, err := r.list(ctx, kind.list, kind.resource, "")
		all, wrong = append(all, found...), append(wrong, err)
	}
	return all, errors.Join(wrong...)
}

// Issuers returns all Issuers. Their status says what became of certificates.
func (r Reader) Issuers(ctx context.Context) ([]client.Object, error) {
	return r.list(ctx, &v1alpha1.IssuerList{}, "issuers.fairway.dev", "")
}

// AddressPools returns all AddressPools.
func (r Reader) AddressPools(ctx context.Context) ([]client.Object, error) {
	return r.list(ctx, &v1alpha1.AddressPoolList{}, "addresspools.fairway.dev", "")
}

// LabelledLeases returns all Leases with a label, whatever it says.
func (r Reader) LabelledLeases(ctx context.Context, label string) ([]client.Object, error) {
	return r.list(ctx, &coordinationv1.LeaseList{}, "leases.coordination.k8s.io", "", client.HasLabels{label})
}

// AllServices returns all Services and EndpointSlices.
func (r Reader) AllServices(ctx context.Context) ([]client.Object, error) {
	services, err1 := r.list(ctx, &corev1.ServiceList{}, "services", "")
	slices, err2 := r.list(ctx, &discoveryv1.EndpointSliceList{}, "endpointslices.discovery.k8s.io", "")
	return append(services, slices...), errors.Join(err1, err2)
}

// Services returns the named Services that exist, with their EndpointSlices.
func (r Reader) Services(ctx context.Context, names []types.NamespacedName) ([]client.Object, error) {
	var found []client.Object
	for _, name := range names {
		service := &corev1.Service{}
		switch err := r.Get(ctx, name, service); {
		case apierrors.IsNotFound(err):
			continue
		case apierrors.IsForbidden(err):
			return nil, &PermissionError{"get", "services", name.Namespace, err}
		case err != nil:
			return nil, fmt.Errorf("get service %s: %w", name, err)
		}
		slices, err := r.list(ctx, &discoveryv1.EndpointSliceList{}, "endpointslices.discovery.k8s.io", name.Namespace,
			client.MatchingLabels{discoveryv1.LabelServiceName: name.Name})
		if err != nil {
			return nil, err
		}
		found = append(append(found, service), slices...)
	}
	return found, nil
}

// Secrets returns the named Secrets that exist and can be read, and the names of
// those that do not exist. A Secret that cannot be read is no error: few people
// may read Secrets.
func (r Reader) Secrets(ctx context.Context, names []types.NamespacedName) (found []client.Object, missing map[types.NamespacedName]bool) {
	missing = map[types.NamespacedName]bool{}
	for _, name := range names {
		secret := &corev1.Secret{}
		switch err := r.Get(ctx, name, secret); {
		case err == nil:
			found = append(found, secret)
		case apierrors.IsNotFound(err):
			missing[name] = true
		}
	}
	return found, missing
}

// page is how many objects one request asks for.
const page = 500

// list reads a kind page by page.
func (r Reader) list(
	ctx context.Context, list client.ObjectList, resource, namespace string, options ...client.ListOption,
) ([]client.Object, error) {
	var all []client.Object
	for next := ""; ; {
		asked := append(options, client.InNamespace(namespace), client.Limit(page), client.Continue(next))
		switch err := r.List(ctx, list, asked...); {
		case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
			return nil, nil // none, because the kind is not installed
		case apierrors.IsForbidden(err):
			return nil, &PermissionError{"list", resource, namespace, err}
		case err != nil:
			return nil, fmt.Errorf("list %s: %w", resource, err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			object, ok := item.DeepCopyObject().(client.Object)
			if !ok {
				return fmt.Errorf("%T is no object", item)
			}
			all = append(all, object)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", resource, err)
		}
		if next = list.GetContinue(); next == "" {
			return all, nil
		}
	}
}

// Leases returns all Leases in the namespaces that have one with the label. These
// are the Leases of replicas and of their leader.
func (r Reader) Leases(ctx context.Context, label string) ([]*coordinationv1.Lease, error) {
	const resource = "leases.coordination.k8s.io"
	labelled, err := r.list(ctx, &coordinationv1.LeaseList{}, resource, "", client.HasLabels{label})
	if err != nil {
		return nil, err
	}
	var leases []*coordinationv1.Lease
	seen := map[string]bool{}
	for _, object := range labelled {
		namespace := object.GetNamespace()
		if seen[namespace] {
			continue
		}
		seen[namespace] = true
		all, err := r.list(ctx, &coordinationv1.LeaseList{}, resource, namespace)
		if err != nil {
			return nil, err
		}
		for _, object := range all {
			if lease, ok := object.(*coordinationv1.Lease); ok {
				leases = append(leases, lease)
			}
		}
	}
	return leases, nil
}

// UnscheduledGateways returns the pods of gateways that have no node, whichever
// installation they belong to.
func (r Reader) UnscheduledGateways(ctx context.Context) ([]*corev1.Pod, error) {
	return r.pods(ctx, "", func(pod *corev1.Pod) bool { return pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil },
		client.MatchingLabels{"app.kubernetes.io/name": "fairway", "app.kubernetes.io/component": "gateway"})
}

// Nodes returns all Nodes.
func (r Reader) Nodes(ctx context.Context) ([]*corev1.Node, error) {
	objects, err := r.list(ctx, &corev1.NodeList{}, "nodes", "")
	if err != nil {
		return nil, err
	}
	var nodes []*corev1.Node
	for _, object := range objects {
		if node, ok := object.(*corev1.Node); ok {
			nodes = append(nodes, node)
		}
	}
	return nodes, nil
}

// NodeAgents returns the pods of the agents of nodes.
func (r Reader) NodeAgents(ctx context.Context) ([]*corev1.Pod, error) {
	return r.pods(ctx, "", func(*corev1.Pod) bool { return true },
		client.MatchingLabels{"app.kubernetes.io/name": "fairway", "app.kubernetes.io/component": "node"})
}

// NameServers returns the pods of the cluster's DNS.
func (r Reader) NameServers(ctx context.Context, namespace string) ([]*corev1.Pod, error) {
	return r.pods(ctx, namespace, func(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil },
		client.MatchingLabels{"app.kubernetes.io/name": "fairway", "app.kubernetes.io/component": "dns"})
}

// Warnings returns the events of a namespace that tell of something wrong, from one source.
func (r Reader) Warnings(ctx context.Context, namespace, source string) ([]*corev1.Event, error) {
	objects, err := r.list(ctx, &corev1.EventList{}, "events", namespace, client.MatchingFields{"type": corev1.EventTypeWarning, "source": source})
	if err != nil {
		return nil, err
	}
	var events []*corev1.Event
	for _, object := range objects {
		if event, ok := object.(*corev1.Event); ok {
			events = append(events, event)
		}
	}
	return events, nil
}

// ScheduledPods returns all pods that have a node.
func (r Reader) ScheduledPods(ctx context.Context) ([]*corev1.Pod, error) {
	return r.pods(ctx, "", func(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" })
}

func (r Reader) pods(ctx context.Context, namespace string, wanted func(*corev1.Pod) bool, options ...client.ListOption) ([]*corev1.Pod, error) {
	objects, err := r.list(ctx, &corev1.PodList{}, "pods", namespace, options...)
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok && wanted(pod) {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}
