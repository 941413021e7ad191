package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// words say what the rules of one policy allow.
type words struct {
	namespace string            // of the policy
	pod       *policy.Pod       // whose port a name means, when it is called
	wrong     []problem.Problem // what of the policy is not understood
}

func (w words) ingress(rules []networkingv1.NetworkPolicyIngressRule) []string {
	all := []string{}
	for i, r := range rules {
		at := fmt.Sprintf("spec.ingress[%d]", i)
		all = append(all, "from "+w.peers(at+".from", r.From)+", at "+w.ports(at, r.Ports, w.pod))
	}
	return all
}

func (w words) egress(rules []networkingv1.NetworkPolicyEgressRule) []string {
	all := []string{}
	for i, r := range rules {
		at := fmt.Sprintf("spec.egress[%d]", i)
		all = append(all, "to "+w.peers(at+".to", r.To)+", at "+w.ports(at, r.Ports, nil))
	}
	return all
}

// understood says whether the part of a policy at a field counts.
func (w words) understood(field string) bool {
	return !slices.ContainsFunc(w.wrong, func(p problem.Problem) bool {
		return p.Field == field || strings.HasPrefix(p.Field, field+".")
	})
}

// each are the words for those of the parts of a field that count.
func (w words) each(field string, parts int, word func(i int) string) []string {
	var all []string
	for i := range parts {
		if w.understood(fmt.Sprintf("%s[%d]", field, i)) {
			all = append(all, word(i))
		}
	}
	return all
}

func (w words) peers(at string, peers []networkingv1.NetworkPolicyPeer) string {
	if len(peers) == 0 {
		return "anybody"
	}
	words := w.each(at, len(peers), func(i int) string { return w.peer(peers[i]) })
	return cmp.Or(join(words, "or"), "nobody")
}

func (w words) peer(peer networkingv1.NetworkPolicyPeer) string {
	if block := peer.IPBlock; block != nil {
		if len(block.Except) == 0 {
			return block.CIDR
		}
		return block.CIDR + " except " + join(block.Except, "and")
	}
	pods := "all pods"
	if selector := selected(peer.PodSelector); selector != "" {
		pods = "pods with " + selector
	}
	if peer.NamespaceSelector == nil {
		return fmt.Sprintf("%s in namespace %s", pods, w.namespace)
	}
	if name, only := named(peer.NamespaceSelector); only {
		return fmt.Sprintf("%s in namespace %s", pods, name)
	}
	if selector := selected(peer.NamespaceSelector); selector != "" {
		return fmt.Sprintf("%s in namespaces with %s", pods, selector)
	}
	return pods + " in all namespaces"
}

// selected is a selector as kubectl takes it; empty: it means all.
func selected(s *metav1.LabelSelector) string {
	if s == nil {
		return ""
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "" // it is not understood, and not asked for
	}
	return selector.String()
}

// named is the one namespace that a selector means by its name.
func named(s *metav1.LabelSelector) (string, bool) {
	name, has := s.MatchLabels[corev1.LabelMetadataName]
	return name, has && len(s.MatchLabels) == 1 && len(s.MatchExpressions) == 0
}

// ports are those of a rule; called is the pod that is called, if it is known.
func (w words) ports(at string, ports []networkingv1.NetworkPolicyPort, called *policy.Pod) string {
	if len(ports) == 0 {
		return "any port"
	}
	words := w.each(at+".ports", len(ports), func(i int) string { return portOf(ports[i], called) })
	return cmp.Or(join(words, "and"), "no port")
}

func portOf(port networkingv1.NetworkPolicyPort, called *policy.Pod) string {
	protocol := corev1.ProtocolTCP
	if port.Protocol != nil {
		protocol = *port.Protocol
	}
	switch {
	case port.Port == nil:
		return fmt.Sprintf("any %s port", protocol)
	case port.Port.Type == intstr.String && called == nil:
		return fmt.Sprintf("the %s port named %s", protocol, port.Port.StrVal)
	case port.Port.Type == intstr.String:
		number, _ := policy.Protocol(protocol)
		found, has := called.Named(port.Port.StrVal, number)
		if !has {
			return fmt.Sprintf("the %s port named %s (this pod has none)", protocol, port.Port.StrVal)
		}
		return fmt.Sprintf("the %s port named %s (%d)", protocol, port.Port.StrVal, found)
	case port.EndPort != nil:
		return numbers(protocol, port.Port.IntVal, *port.EndPort)
	default:
		return numbers(protocol, port.Port.IntVal, port.Port.IntVal)
	}
}

// numbers are the ports of a protocol from one to another, which may be the same.
func numbers(protocol corev1.Protocol, first, last int32) string {
	if first == last {
		return fmt.Sprintf("%s %d", protocol, first)
	}
	return fmt.Sprintf("%s %d to %d", protocol, first, last)
}

// join is "a", "a and b", "a, b and c"; empty without words.
func join(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	most := len(words) - 1
	return strings.Join(words[:most], ", ") + " " + last + " " + words[most]
}
