package check

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// clusterPolicies returns what is wrong with ClusterNetworkPolicies, and, of those that are understood, what is most
// likely a mistake.
func clusterPolicies(ctx context.Context, files *folder.Cache) (problems, hints []problem.Problem, err error) {
	var list policyv1.ClusterNetworkPolicyList
	if err := files.Live().List(ctx, &list); err != nil {
		return nil, nil, fmt.Errorf("list cluster network policies: %w", err)
	}
	workloads, namespaces := files.Workloads(), files.Namespaces()
	var all []*subject // by name
	for i := range list.Items {
		np := &list.Items[i]
		parsed, wrong := policy.ParseCluster(np)
		problems = append(problems, wrong...)
		if len(wrong) > 0 {
			continue
		}
		s := &subject{ClusterPolicy: parsed}
		s.choose(np.Spec.Subject, workloads, namespaces)
		h := &hinter{policy: problem.Object{Kind: "ClusterNetworkPolicy", Name: types.NamespacedName{Name: np.Name}}}
		h.subject(s, np.Spec)
		h.order(s, all)
		h.covered(s.ClusterPolicy)
		all, hints = append(all, s), append(hints, h.hints...)
	}
	return problems, hints, nil
}

// subject is what of the files a ClusterNetworkPolicy selects.
type subject struct {
	*policy.ClusterPolicy

	selected []*folder.Workload
	missed   int  // workloads that it does not select, though its selector of namespaces does not exclude them by name
	unsure   bool // it may select others: no file has the labels of their namespaces
}

// choose notes which of the workloads the policy selects.
func (s *subject) choose(chosen policyv1.ClusterNetworkPolicySubject, workloads []folder.Workload, declared map[string]labels.Set) {
	byNamespace, byPod := chosen.Namespaces, &metav1.LabelSelector{}
	if chosen.Pods != nil {
		byNamespace, byPod = &chosen.Pods.NamespaceSelector, &chosen.Pods.PodSelector
	}
	namespaces, err1 := metav1.LabelSelectorAsSelector(byNamespace)
	pods, err2 := metav1.LabelSelectorAsSelector(byPod)
	if err1 != nil || err2 != nil {
		return // of what is understood neither is so
	}
	for i := range workloads {
		w := &workloads[i]
		switch m := meaningOf(namespaces, w.Namespace, declared); {
		case m == elsewhere:
		case m == excluded || !pods.Matches(labels.Set(w.Pod.Labels)):
			s.missed++
		case m == possible:
			s.unsure = true
		default:
			s.selected = append(s.selected, w)
		}
	}
}

// meaning is what a selector of namespaces means by one of them.
type meaning int

const (
	elsewhere meaning = iota // it excludes it by its name
	excluded                 // it excludes it by its labels
	possible                 // no file has its labels
	included
)

func meaningOf(s labels.Selector, name string, declared map[string]labels.Set) meaning {
	requirements, _ := s.Requirements()
	others := 0
	for _, r := range requirements {
		switch {
		case r.Key() != corev1.LabelMetadataName:
			others++
		case !r.Matches(labels.Set{corev1.LabelMetadataName: name}):
			return elsewhere
		}
	}
	has, known := declared[name]
	switch {
	case others == 0:
		return included
	case !known:
		return possible
	case s.Matches(has):
		return included
	default:
		return excluded
	}
}

// guarded are the selected pods to which policies apply.
func (s *subject) guarded() []*policy.Pod {
	var all []*policy.Pod
	for _, w := range s.selected {
		if p := podOf(w); p != nil {
			all = append(all, p)
		}
	}
	return all
}

// podOf is what a workload's pods are for policies; nil: none apply to them.
func podOf(w *folder.Workload) *policy.Pod {
	return policy.PodOf(&corev1.Pod{ObjectMeta: w.Pod.ObjectMeta, Spec: w.Pod.Spec})
}

// subject finds a subject without pods, and what its pods do not have.
func (h *hinter) subject(s *subject, spec policyv1.ClusterNetworkPolicySpec) {
	guarded := s.guarded()
	switch {
	case s.unsure || len(s.selected)+s.missed == 0:
	case len(s.selected) == 0:
		h.say(HintSelectsNoPod, "spec.subject", "it selects no pod: these files have %s, and it matches none", wording.Count(s.missed, "workload"))
	case len(guarded) == 0:
		h.say(HintHostNetwork, "spec.subject", hostNetwork)
	default:
		h.clusterPorts(spec.Ingress, guarded)
	}
}

// clusterPorts finds named ports for connections to the selected pods that none of these has.
func (h *hinter) clusterPorts(rules []policyv1.ClusterNetworkPolicyIngressRule, selected []*policy.Pod) {
	for i, rule := range rules {
		for k, protocol := range rule.Protocols {
			name := protocol.DestinationNamedPort
			has := func(p *policy.Pod) bool {
				return slices.ContainsFunc(p.Ports, func(n policy.NamedPort) bool { return n.Name == name })
			}
			if name != "" && !slices.ContainsFunc(selected, has) {
				h.say(HintNoSuchPort, fmt.Sprintf("spec.ingress[%d].protocols[%d].destinationNamedPort", i, k),
					"no pod of these files that the policy selects has a port named %q: this matches nothing", name)
			}
		}
	}
}

// order finds a policy of the same tier and priority that is asked about the same connections of some pod.
func (h *hinter) order(s *subject, others []*subject) {
	for _, other := range others {
		if s.Tier != other.Tier || s.Priority != other.Priority || !slices.ContainsFunc(directions(), func(d policy.Direction) bool {
			return len(s.Rules[d]) > 0 && len(other.Rules[d]) > 0
		}) {
			continue
		}
		for _, w := range s.selected {
			if podOf(w) == nil || !slices.Contains(other.selected, w) {
				continue
			}
			h.say(HintSamePriority, "spec.priority",
				"ClusterNetworkPolicy %s of tier %s has the same one, and both select the pods of %s %s/%s: Fairway asks %[1]s first, by its name, and other implementations need not",
				other.Name, s.Tier, w.Kind, w.Namespace, w.Name)
			return
		}
	}
}

// covered finds rules that never match.
func (h *hinter) covered(p *policy.ClusterPolicy) {
	fields := map[policy.Direction]string{policy.Ingress: "spec.ingress[%d]", policy.Egress: "spec.egress[%d]"}
	for _, d := range directions() {
		for i, rule := range p.Rules[d] {
			k := slices.IndexFunc(p.Rules[d][:i], func(before policy.ClusterRule) bool { return before.Covers(rule.Rule) })
			if k >= 0 {
				h.say(HintNeverMatches, fmt.Sprintf(fields[d], i), "this rule never matches: "+fields[d]+", ahead of it, matches everything that it could", k)
			}
		}
	}
}

func directions() []policy.Direction { return []policy.Direction{policy.Ingress, policy.Egress} }
