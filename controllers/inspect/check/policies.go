package check

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// The reasons of hints (docs/check.md). They are none of Problems.
const (
	HintSelectsNoPod  = "SelectsNoPod"  // of those in the files
	HintHostNetwork   = "HostNetwork"   // all selected pods have the host's
	HintNoSuchPort    = "NoSuchPort"    // by that name
	HintRulesNotAsked = "RulesNotAsked" // of a direction that policyTypes lacks
	HintSamePriority  = "SamePriority"  // as another ClusterNetworkPolicy that selects the same pod
	HintNeverMatches  = "NeverMatches"  // a rule, as one ahead of it matches everything
)

// policies returns what is wrong with policies, and what the API takes and is most likely a mistake.
func policies(ctx context.Context, files *folder.Cache) (problems, hints []problem.Problem, err error) {
	var list networkingv1.NetworkPolicyList
	if err := files.Live().List(ctx, &list); err != nil {
		return nil, nil, fmt.Errorf("list network policies: %w", err)
	}
	workloads := files.Workloads()
	for i := range list.Items {
		np := &list.Items[i]
		_, wrong := policy.Parse(np)
		problems = append(problems, wrong...)
		hints = append(hints, hintsOf(np, workloads)...)
	}
	wrong, more, err := clusterPolicies(ctx, files)
	return append(problems, wrong...), append(hints, more...), err
}

// hintsOf returns what of a policy is most likely a mistake.
func hintsOf(np *networkingv1.NetworkPolicy, workloads []folder.Workload) []problem.Problem {
	h := &hinter{policy: problem.Object{Kind: "NetworkPolicy", Name: types.NamespacedName{Namespace: np.Namespace, Name: np.Name}}}
	h.directions(np.Spec)
	selector, err := metav1.LabelSelectorAsSelector(&np.Spec.PodSelector)
	if err != nil {
		return h.hints
	}
	here, selected := 0, 0
	var guarded []*policy.Pod
	for i := range workloads {
		w := &workloads[i]
		if w.Namespace != np.Namespace {
			continue
		}
		here++
		if !selector.Matches(labels.Set(w.Pod.Labels)) {
			continue
		}
		selected++
		if p := podOf(w); p != nil {
			guarded = append(guarded, p)
		}
	}
	switch {
	case here == 0: // the pods are elsewhere
	case selected == 0:
		h.say(HintSelectsNoPod, "spec.podSelector", "it selects no pod: these files have %s in namespace %s, and it matches none",
			wording.Count(here, "workload"), np.Namespace)
	case len(guarded) == 0:
		h.say(HintHostNetwork, "spec.podSelector", hostNetwork)
	default:
		h.ports(np.Spec, guarded)
	}
	return h.hints
}

// hostNetwork is the text of HintHostNetwork.
const hostNetwork = "all pods of these files that it selects have the host's network, and no policy applies to such pods"

// hinter gathers the hints to one policy.
type hinter struct {
	policy problem.Object
	hints  []problem.Problem
}

func (h *hinter) say(reason, field, format string, args ...any) {
	h.hints = append(h.hints, problem.Problem{
		Object: h.policy, Reason: problem.Reason(reason), Field: field, Message: fmt.Sprintf(format, args...),
	})
}

// directions finds rules that do nothing, as policyTypes does not have their direction.
func (h *hinter) directions(spec networkingv1.NetworkPolicySpec) {
	const text = "these rules do nothing: spec.policyTypes does not have %s"
	if len(spec.PolicyTypes) == 0 {
		return
	}
	if len(spec.Ingress) > 0 && !slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
		h.say(HintRulesNotAsked, "spec.ingress", text, networkingv1.PolicyTypeIngress)
	}
	if len(spec.Egress) > 0 && !slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
		h.say(HintRulesNotAsked, "spec.egress", text, networkingv1.PolicyTypeEgress)
	}
}

// ports finds named ports for connections to the selected pods that none of these has.
func (h *hinter) ports(spec networkingv1.NetworkPolicySpec, selected []*policy.Pod) {
	for i, rule := range spec.Ingress {
		for k, port := range rule.Ports {
			if port.Port == nil || port.Port.Type != intstr.String {
				continue
			}
			protocol := corev1.ProtocolTCP
			if port.Protocol != nil {
				protocol = *port.Protocol
			}
			number, known := policy.Protocol(protocol)
			has := func(p *policy.Pod) bool {
				_, has := p.Named(port.Port.StrVal, number)
				return has
			}
			if known && !slices.ContainsFunc(selected, has) {
				h.say(HintNoSuchPort, fmt.Sprintf("spec.ingress[%d].ports[%d].port", i, k),
					"no pod of these files that the policy selects has a %s port named %q: this allows nothing", protocol, port.Port.StrVal)
			}
		}
	}
}
