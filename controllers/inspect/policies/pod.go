package policies

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

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
	// Isolated pods have only what a policy allows.
	Isolated bool     `json:"isolated"`
	Policies []Policy `json:"policies"`
}

// Policy is a NetworkPolicy of the pod's namespace.
type Policy struct {
	Name string `json:"name"`
	// Rules say in words what each rule allows. Without any, the policy allows nothing.
	Rules []string `json:"rules"`
}

// OfPod returns what policies say of a pod of a cluster.
func OfPod(ctx context.Context, reader snapshot.Reader, name types.NamespacedName) (*Pod, error) {
	object, err := reader.Pod(ctx, name)
	if err != nil {
		return nil, err
	}
	all, err := reader.NetworkPolicies(ctx, name.Namespace)
	if err != nil {
		return nil, err
	}
	return podOf(object, all), nil
}

// podOf says what the policies of its namespace mean for a pod.
func podOf(object *corev1.Pod, all []*networkingv1.NetworkPolicy) *Pod {
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
	nowhere := func(problem.Problem) (folder.Place, bool) { return folder.Place{}, false }
	p.Problems = check.FindingsOf(nowhere, problems)
	return p
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
