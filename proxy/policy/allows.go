package policy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
)

// World is objects of a cluster, as Allows reads them.
type World struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
	Cluster    []*policyv1.ClusterNetworkPolicy
}

// End is one end of a connection: a pod, or an address that no pod has.
type End struct {
	Pod     *corev1.Pod
	Address netip.Addr
}

// Target is what a connection is made to.
type Target struct {
	Protocol corev1.Protocol // empty for what has no ports, such as ICMP
	Port     int32
}

// Allows says whether a connection may be made, by the words of the API alone: both ends' policies must
// allow it. It knows nothing of nodes and tables; it is slow, and the measure of all that is fast.
func (w World) Allows(from, to End, at Target) bool {
	return w.AllowsIn(Egress, from, to, at) && w.AllowsIn(Ingress, from, to, at)
}

// AllowsIn says whether the policies of one end allow it: the sender's (Egress), or the receiver's.
func (w World) AllowsIn(d Direction, from, to End, at Target) bool {
	switch {
	case from.Pod != nil && from.Pod == to.Pod:
		return true // by way of a Service
	case d == Egress:
		return w.tiers(d, networkingv1.PolicyTypeEgress, from, to, to, at)
	default:
		return w.tiers(d, networkingv1.PolicyTypeIngress, to, from, to, at)
	}
}

// tiers asks one after the other who decides.
func (w World) tiers(d Direction, t networkingv1.PolicyType, own, peer, called End, at Target) bool {
	switch w.cluster(policyv1.AdminTier, d, own, peer, called, at) {
	case policyv1.ClusterNetworkPolicyRuleActionAccept:
		return true
	case policyv1.ClusterNetworkPolicyRuleActionDeny:
		return false
	default:
	}
	if allowed, isolated := w.direction(t, own, peer, called, at); isolated {
		return allowed
	}
	return w.cluster(policyv1.BaselineTier, d, own, peer, called, at) != policyv1.ClusterNetworkPolicyRuleActionDeny
}

// direction asks the policies of a pod about a peer, and says whether there are any.
func (w World) direction(d networkingv1.PolicyType, own, peer, called End, at Target) (allowed, isolated bool) {
	if own.Pod == nil {
		return true, false
	}
	for _, p := range w.Policies {
		if p.Namespace != own.Pod.Namespace || !matches(&p.Spec.PodSelector, own.Pod.Labels) || !isOf(p, d) {
			continue
		}
		isolated = true
		var rules bool
		if d == networkingv1.PolicyTypeIngress {
			rules = slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
				return w.isAmong(p.Namespace, r.From, peer) && isAt(r.Ports, called, at)
			})
		} else {
			rules = slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
				return w.isAmong(p.Namespace, r.To, peer) && isAt(r.Ports, called, at)
			})
		}
		if rules {
			return true, true
		}
	}
	return !isolated, isolated
}

func isOf(p *networkingv1.NetworkPolicy, d networkingv1.PolicyType) bool {
	if len(p.Spec.PolicyTypes) > 0 {
		return slices.Contains(p.Spec.PolicyTypes, d)
	}
	return d == networkingv1.PolicyTypeIngress || len(p.Spec.Egress) > 0
}

func matches(s *metav1.LabelSelector, has map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(has))
}

func (w World) isAmong(namespace string, peers []networkingv1.NetworkPolicyPeer, end End) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool {
		if peer.IPBlock != nil {
			return isIn(peer.IPBlock.CIDR, end.Address) &&
				!slices.ContainsFunc(peer.IPBlock.Except, func(text string) bool { return isIn(text, end.Address) })
		}
		if end.Pod == nil {
			return false
		}
		if peer.NamespaceSelector == nil {
			return end.Pod.Namespace == namespace && matches(peer.PodSelector, end.Pod.Labels)
		}
		var has map[string]string
		for _, n := range w.Namespaces {
			if n.Name == end.Pod.Namespace {
				has = n.Labels
			}
		}
		return matches(peer.NamespaceSelector, has) && (peer.PodSelector == nil || matches(peer.PodSelector, end.Pod.Labels))
	})
}

func isIn(network string, a netip.Addr) bool {
	p, err := netip.ParsePrefix(network)
	return err == nil && p.Contains(a)
}

func isAt(ports []networkingv1.NetworkPolicyPort, called End, at Target) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if protocol != at.Protocol {
			return false
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			return called.Pod != nil && portNamed(called.Pod, p.Port.StrVal, protocol) == at.Port
		case p.EndPort != nil:
			return p.Port.IntVal <= at.Port && at.Port <= *p.EndPort
		default:
			return p.Port.IntVal == at.Port
		}
	})
}

// portNamed is the number of a pod's port; zero if it has none of that name.
func portNamed(pod *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	all := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all = append(all, c)
		}
	}
	for _, c := range all {
		for _, p := range c.Ports {
			if p.Name == name && (p.Protocol == protocol || p.Protocol == "" && protocol == corev1.ProtocolTCP) {
				return p.ContainerPort
			}
		}
	}
	return 0
}
