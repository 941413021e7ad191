package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// addCluster adds the policies of the cluster that select the pod, in the order in which they are asked. It returns
// what is wrong with them.
func (p *Pod) addCluster(pod *policy.Pod, o objects) []problem.Problem {
	type selecting struct {
		*policy.ClusterPolicy

		spec  policyv1.ClusterNetworkPolicySpec
		wrong []problem.Problem
	}
	var all []selecting
	for _, np := range o.cluster {
		if parsed, wrong := policy.ParseCluster(np); parsed.Selects(pod, o.labels) {
			all = append(all, selecting{parsed, np.Spec, wrong})
		}
	}
	slices.SortFunc(all, func(a, b selecting) int { return a.Compare(b.ClusterPolicy) })
	var problems []problem.Problem
	for _, np := range all {
		problems = append(problems, np.wrong...)
		w := words{"", pod, np.wrong}
		p.Ingress.addCluster(np.ClusterPolicy, w.clusterIngress(np.spec.Ingress, np.Rules[policy.Ingress]))
		p.Egress.addCluster(np.ClusterPolicy, w.clusterEgress(np.spec.Egress, np.Rules[policy.Egress]))
	}
	return problems
}

// addCluster adds a policy that has rules for the direction.
func (d *Direction) addCluster(p *policy.ClusterPolicy, rules []ClusterRule) {
	if len(rules) == 0 {
		return
	}
	tier := &d.Admin
	if p.Tier == policy.Baseline {
		tier = &d.Baseline
	}
	*tier = append(*tier, ClusterPolicy{p.Name, p.Priority, rules})
}

func (w words) clusterIngress(rules []policyv1.ClusterNetworkPolicyIngressRule, parsed []policy.ClusterRule) []ClusterRule {
	var all []ClusterRule
	for i, r := range rules {
		at := fmt.Sprintf("spec.ingress[%d]", i)
		var peers []string
		for k, from := range r.From {
			peers = append(peers, w.clusterPods(fmt.Sprintf("%s.from[%d]", at, k), from.Namespaces, from.Pods)...)
		}
		all = append(all, ruleOf(parsed[i], "from "+peersOf(parsed[i], peers)+", at "+w.clusterPorts(at, r.Protocols, parsed[i], w.pod)))
	}
	return all
}

func (w words) clusterEgress(rules []policyv1.ClusterNetworkPolicyEgressRule, parsed []policy.ClusterRule) []ClusterRule {
	var all []ClusterRule
	for i, r := range rules {
		at := fmt.Sprintf("spec.egress[%d]", i)
		var peers []string
		for k, to := range r.To {
			peer := fmt.Sprintf("%s.to[%d]", at, k)
			peers = append(peers, w.clusterPods(peer, to.Namespaces, to.Pods)...)
			if w.understood(peer) {
				for _, network := range to.Networks {
					peers = append(peers, string(network))
				}
			}
		}
		all = append(all, ruleOf(parsed[i], "to "+peersOf(parsed[i], peers)+", at "+w.clusterPorts(at, r.Protocols, parsed[i], nil)))
	}
	return all
}

func ruleOf(parsed policy.ClusterRule, matches string) ClusterRule {
	return ClusterRule{parsed.Name, parsed.Action.String(), matches}
}

// peersOf are the peers that count: a rule that denies and is not understood denies everybody.
func peersOf(parsed policy.ClusterRule, peers []string) string {
	if parsed.Anybody {
		return "anybody"
	}
	return cmp.Or(join(peers, "or"), "nobody")
}

// clusterPods are the pods that a peer means; none if it means something else, or is not understood.
func (w words) clusterPods(at string, namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod) []string {
	peer := networkingv1.NetworkPolicyPeer{NamespaceSelector: namespaces}
	if pods != nil {
		peer.NamespaceSelector, peer.PodSelector = &pods.NamespaceSelector, &pods.PodSelector
	}
	if peer.NamespaceSelector == nil || !w.understood(at) {
		return nil
	}
	return []string{w.peer(peer)}
}

// clusterPorts are those of a rule; called is the pod that is called, if it is known.
func (w words) clusterPorts(at string, protocols []policyv1.ClusterNetworkPolicyProtocol, parsed policy.ClusterRule, called *policy.Pod) string {
	if parsed.AnyPort {
		return "any port"
	}
	words := w.each(at+".protocols", len(protocols), func(i int) string { return clusterPort(protocols[i], called) })
	return cmp.Or(join(words, "and"), "no port")
}

func clusterPort(p policyv1.ClusterNetworkPolicyProtocol, called *policy.Pod) string {
	switch {
	case p.DestinationNamedPort != "":
		return namedPort(p.DestinationNamedPort, called)
	case p.TCP != nil:
		return numberedPort(corev1.ProtocolTCP, p.TCP.DestinationPort)
	case p.UDP != nil:
		return numberedPort(corev1.ProtocolUDP, p.UDP.DestinationPort)
	default:
		return numberedPort(corev1.ProtocolSCTP, p.SCTP.DestinationPort) // what is understood has one of them
	}
}

// namedPort is a port by its name, which can be one of each protocol.
func namedPort(name string, called *policy.Pod) string {
	text := "the port named " + name
	if called == nil {
		return text
	}
	var all []string
	for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
		number, _ := policy.Protocol(protocol)
		if port, has := called.Named(name, number); has {
			all = append(all, fmt.Sprintf("%s %d", protocol, port))
		}
	}
	return fmt.Sprintf("%s (%s)", text, cmp.Or(strings.Join(all, ", "), "this pod has none"))
}

func numberedPort(protocol corev1.Protocol, port *policyv1.Port) string {
	switch {
	case port == nil:
		return fmt.Sprintf("any %s port", protocol)
	case port.Range != nil:
		return numbers(protocol, port.Range.Start, port.Range.End)
	default:
		return numbers(protocol, port.Number, port.Number)
	}
}
