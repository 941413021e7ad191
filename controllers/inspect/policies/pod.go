package policies

import (
	"context"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// Pod is what policies say of a pod. docs/explain.md documents its JSON, which does not change while
// Version is 1.
type Pod struct {
	Version   int      `json:"version"`
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Node      string   `json:"node,omitempty"`
	Addresses []string `json:"addresses"`
	// Exempt is why no policy applies to the pod; empty: those that select it do.
	Exempt string `json:"exempt,omitempty"`
	// Ingress is about what reaches the pod, Egress about what it sends.
	Ingress Direction `json:"ingress"`
	Egress  Direction `json:"egress"`
	// Unknown lists what objects do not say.
	Unknown  []string        `json:"unknown,omitempty"`
	Problems []check.Finding `json:"problems"` // of the policies that select the pod
}

// Direction is what applies to one direction of a pod.
type Direction struct {
	// Admin are the ClusterNetworkPolicies that are asked ahead of NetworkPolicies, in order.
	Admin []ClusterPolicy `json:"admin,omitempty"`
	// Isolated pods have only what a policy allows, of what Admin leaves.
	Isolated bool     `json:"isolated"`
	Policies []Policy `json:"policies"`
	// Baseline are the ClusterNetworkPolicies that are asked if the pod is not isolated, in order.
	Baseline []ClusterPolicy `json:"baseline,omitempty"`
}

// Policy is a NetworkPolicy of the pod's namespace.
type Policy struct {
	Name string `json:"name"`
	// Rules say in words what each rule allows. Without any, the policy allows nothing.
	Rules []string `json:"rules"`
}

// ClusterPolicy is a ClusterNetworkPolicy. The first rule of a tier that matches decides.
type ClusterPolicy struct {
	Name     string        `json:"name"`
	Priority int32         `json:"priority"`
	Rules    []ClusterRule `json:"rules"`
}

// ClusterRule is what a rule of a ClusterNetworkPolicy does.
type ClusterRule struct {
	Name   string `json:"name,omitempty"`
	Action string `json:"action"` // Accept, Deny or Pass
	// Matches says in words with what it does that.
	Matches string `json:"matches"`
}

// objects are what decides about a pod.
type objects struct {
	pod      *corev1.Pod
	policies []*networkingv1.NetworkPolicy // of its namespace
	cluster  []*policyv1.ClusterNetworkPolicy
	labels   labels.Set // of its namespace, if there are policies of the cluster
	unknown  string     // what of the cluster's the user may not read
}

// OfPod returns what policies say of a pod of a cluster.
func OfPod(ctx context.Context, reader snapshot.Reader, name types.NamespacedName) (*Pod, error) {
	var o objects
	var err error
	if o.pod, err = reader.Pod(ctx, name); err != nil {
		return nil, err
	}
	if o.policies, err = reader.NetworkPolicies(ctx, name.Namespace); err != nil {
		return nil, err
	}
	if Exempt(o.pod) == "" {
		err = o.ofCluster(ctx, reader)
	}
	return podOf(o), err
}

// ofCluster reads the policies of the cluster. They select by the labels of namespaces.
func (o *objects) ofCluster(ctx context.Context, reader snapshot.Reader) error {
	all, err := reader.ClusterNetworkPolicies(ctx)
	if err == nil && len(all) > 0 {
		var namespace *corev1.Namespace
		if namespace, err = reader.Namespace(ctx, o.pod.Namespace); err == nil {
			o.cluster, o.labels = all, namespace.Labels
		}
	}
	if forbidden := (*snapshot.PermissionError)(nil); errors.As(err, &forbidden) {
		o.unknown = "which ClusterNetworkPolicies select the pod: " + forbidden.Error()
		return nil
	}
	return err
}

// podOf says what policies mean for a pod.
func podOf(o objects) *Pod {
	object := o.pod
	p := &Pod{
		Version: 1, Namespace: object.Namespace, Name: object.Name, Node: object.Spec.NodeName, Addresses: []string{}, Exempt: Exempt(object),
		Ingress: Direction{Policies: []Policy{}}, Egress: Direction{Policies: []Policy{}}, Problems: []check.Finding{},
	}
	for _, ip := range object.Status.PodIPs {
		p.Addresses = append(p.Addresses, ip.IP)
	}
	pod := policy.PodOf(object)
	if pod == nil {
		return p
	}
	if len(p.Addresses) == 0 {
		p.Unknown = append(p.Unknown, "the pod has no address yet, which policies with networks may be about")
	}
	if o.unknown != "" {
		p.Unknown = append(p.Unknown, o.unknown)
	}
	problems := append(p.addPolicies(pod, o.policies), p.addCluster(pod, o)...)
	nowhere := func(problem.Problem) (folder.Place, bool) { return folder.Place{}, false }
	p.Problems = check.FindingsOf(nowhere, problems)
	return p
}

// addPolicies adds the NetworkPolicies that select the pod. It returns what is wrong with them.
func (p *Pod) addPolicies(pod *policy.Pod, all []*networkingv1.NetworkPolicy) []problem.Problem {
	slices.SortFunc(all, func(a, b *networkingv1.NetworkPolicy) int { return strings.Compare(a.Name, b.Name) })
	var problems []problem.Problem
	for _, np := range all {
		parsed, wrong := policy.Parse(np)
		if !parsed.Selects(pod) {
			continue
		}
		problems = append(problems, wrong...)
		w := words{np.Namespace, pod, wrong}
		if parsed.Isolates[policy.Ingress] {
			p.Ingress.add(np.Name, w.ingress(np.Spec.Ingress))
		}
		if parsed.Isolates[policy.Egress] {
			p.Egress.add(np.Name, w.egress(np.Spec.Egress))
		}
	}
	return problems
}

func (d *Direction) add(name string, rules []string) {
	d.Isolated = true
	d.Policies = append(d.Policies, Policy{name, rules})
}

// Exempt is why no policy applies to a pod; empty: those that select it do.
func Exempt(pod *corev1.Pod) string {
	switch {
	case pod.Spec.HostNetwork:
		return "it has the host's network, and to others it is the node"
	case policy.PodOf(pod) == nil:
		return "it has ended, and its addresses may be another pod's"
	default:
		return ""
	}
}
