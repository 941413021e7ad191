package policy

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
)

// cluster asks the policies of the cluster of a tier about a peer of a pod. Nothing decides if the action is
// empty.
func (w World) cluster(t policyv1.Tier, d Direction, own, peer, called End, at Target) policyv1.ClusterNetworkPolicyRuleAction {
	var all []*policyv1.ClusterNetworkPolicy
	for _, p := range w.Cluster {
		if p.Spec.Tier == t && w.isSubject(p.Spec.Subject.Namespaces, p.Spec.Subject.Pods, own) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *policyv1.ClusterNetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Spec.Priority, b.Spec.Priority), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range all {
		if action := w.rule(p, d, peer, called, at); action != "" {
			return action
		}
	}
	return ""
}

// rule is what the first rule of a policy does that is about a peer.
func (w World) rule(p *policyv1.ClusterNetworkPolicy, d Direction, peer, called End, at Target) policyv1.ClusterNetworkPolicyRuleAction {
	if d == Ingress {
		for _, r := range p.Spec.Ingress {
			from := slices.ContainsFunc(r.From, func(x policyv1.ClusterNetworkPolicyIngressPeer) bool { return w.isSubject(x.Namespaces, x.Pods, peer) })
			if from && isProtocol(r.Protocols, called, at) {
				return r.Action
			}
		}
		return ""
	}
	for _, r := range p.Spec.Egress {
		to := slices.ContainsFunc(r.To, func(x policyv1.ClusterNetworkPolicyEgressPeer) bool {
			return w.isSubject(x.Namespaces, x.Pods, peer) ||
				slices.ContainsFunc(x.Networks, func(c policyv1.CIDR) bool { return isIn(string(c), peer.Address) })
		})
		if to && isProtocol(r.Protocols, called, at) {
			return r.Action
		}
	}
	return ""
}

// isSubject says whether a pod is among those of namespaces, or among pods of namespaces.
func (w World) isSubject(namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod, end End) bool {
	if end.Pod == nil || namespaces == nil && pods == nil {
		return false
	}
	if namespaces == nil {
		namespaces = &pods.NamespaceSelector
	}
	var has map[string]string
	for _, n := range w.Namespaces {
		if n.Name == end.Pod.Namespace {
			has = n.Labels
		}
	}
	return matches(namespaces, has) && (pods == nil || matches(&pods.PodSelector, end.Pod.Labels))
}

func isProtocol(all []policyv1.ClusterNetworkPolicyProtocol, called End, at Target) bool {
	return len(all) == 0 || slices.ContainsFunc(all, func(p policyv1.ClusterNetworkPolicyProtocol) bool {
		switch {
		case p.DestinationNamedPort != "":
			return called.Pod != nil && at.Port != 0 && portNamed(called.Pod, p.DestinationNamedPort, at.Protocol) == at.Port
		case p.TCP != nil:
			return at.Protocol == corev1.ProtocolTCP && isPort(p.TCP.DestinationPort, at.Port)
		case p.UDP != nil:
			return at.Protocol == corev1.ProtocolUDP && isPort(p.UDP.DestinationPort, at.Port)
		case p.SCTP != nil:
			return at.Protocol == corev1.ProtocolSCTP && isPort(p.SCTP.DestinationPort, at.Port)
		default:
			return false
		}
	})
}

func isPort(p *policyv1.Port, number int32) bool {
	switch {
	case p == nil:
		return true
	case p.Range != nil:
		return p.Range.Start <= number && number <= p.Range.End
	default:
		return p.Number == number
	}
}
