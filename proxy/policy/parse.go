package policy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	netutils "k8s.io/utils/net"

	"github.com/fairwaynet/fairway/api/problem"
)

// ReasonNotUnderstood says that a policy has a part that means nothing to this version. What the part
// would allow is not allowed.
const ReasonNotUnderstood problem.Reason = "PolicyNotUnderstood"

// parser gathers what is wrong with one policy.
type parser struct {
	namespace string
	wrong     []string
}

// say notes a sentence that begins with a field and a colon.
func (p *parser) say(format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// Parse returns what a NetworkPolicy says, and what of it cannot be understood: such a part allows
// nothing, and a selector of pods that cannot be understood means all of the namespace.
func Parse(np *networkingv1.NetworkPolicy) (*Policy, []problem.Problem) {
	p := &parser{namespace: np.Namespace}
	policy := &Policy{Name: Key{Namespace: np.Namespace, Name: np.Name}}
	var err error
	if policy.Pods, err = newSelector(np.Namespace, nil, &np.Spec.PodSelector); err != nil {
		p.say("spec.%v: it means all pods of the namespace now", err)
		policy.Pods = Selector{namespace: np.Namespace, pods: labels.Everything()}
	}
	p.isolates(policy, &np.Spec)
	if policy.Isolates[Ingress] {
		for i, r := range np.Spec.Ingress {
			policy.Rules[Ingress] = append(policy.Rules[Ingress], p.rule(fmt.Sprintf("spec.ingress[%d]", i), "from", r.From, r.Ports))
		}
	}
	if policy.Isolates[Egress] {
		for i, r := range np.Spec.Egress {
			policy.Rules[Egress] = append(policy.Rules[Egress], p.rule(fmt.Sprintf("spec.egress[%d]", i), "to", r.To, r.Ports))
		}
	}
	return policy, p.problems("NetworkPolicy", policy.Name)
}

func (p *parser) problems(kind string, name Key) []problem.Problem {
	var all []problem.Problem
	for _, text := range p.wrong {
		field, message, _ := strings.Cut(text, ": ")
		all = append(all, problem.Problem{Object: problem.Object{Kind: kind, Name: name}, Reason: ReasonNotUnderstood, Field: field, Message: message})
	}
	return all
}

// isolates notes in which directions a policy isolates: without a word Ingress, and Egress if it has
// rules for that.
func (p *parser) isolates(policy *Policy, spec *networkingv1.NetworkPolicySpec) {
	if len(spec.PolicyTypes) == 0 {
		policy.Isolates = [2]bool{true, len(spec.Egress) > 0}
		return
	}
	for i, t := range spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			policy.Isolates[Ingress] = true
		case networkingv1.PolicyTypeEgress:
			policy.Isolates[Egress] = true
		default:
			p.say("spec.policyTypes[%d]: %q is not known: say Ingress or Egress", i, t)
		}
	}
}

func (p *parser) rule(at, peers string, from []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) Rule {
	r := Rule{Anybody: len(from) == 0, AnyPort: len(ports) == 0}
	for i, peer := range from {
		p.peer(fmt.Sprintf("%s.%s[%d]", at, peers, i), &r, peer)
	}
	r.Blocks = merge(r.Blocks)
	for i, port := range ports {
		p.port(fmt.Sprintf("%s.ports[%d]", at, i), &r, port)
	}
	slices.SortFunc(r.Ports, comparePorts)
	r.Ports = mergePorts(r.Ports)
	return r
}

func (p *parser) peer(at string, r *Rule, peer networkingv1.NetworkPolicyPeer) {
	switch {
	case peer.IPBlock != nil && (peer.PodSelector != nil || peer.NamespaceSelector != nil):
		p.say("%s: an ipBlock stands alone, without selectors: write two peers", at)
	case peer.IPBlock != nil:
		p.block(at, r, peer.IPBlock)
	case peer.PodSelector == nil && peer.NamespaceSelector == nil:
		p.say("%s: it has none of ipBlock, namespaceSelector and podSelector that this version knows", at)
	default:
		s, err := newSelector(p.namespace, peer.NamespaceSelector, peer.PodSelector)
		if err != nil {
			p.say("%s.%v", at, err)
			return
		}
		if !slices.ContainsFunc(r.Peers, func(x Selector) bool { return x.id == s.id }) {
			r.Peers = append(r.Peers, s)
		}
	}
}

func (p *parser) block(at string, r *Rule, block *networkingv1.IPBlock) {
	network, err := prefix(block.CIDR)
	if err != nil {
		p.say("%s.ipBlock.cidr: %v", at, err)
		return
	}
	var except []netip.Prefix
	for i, text := range block.Except {
		hole, err := prefix(text)
		if err != nil {
			p.say("%s.ipBlock.except[%d]: %v: the whole block allows nothing", at, i, err)
			return
		}
		except = append(except, hole)
	}
	r.Blocks = append(r.Blocks, without(network, except)...)
}

// prefix reads a network as the API server takes it: with bits behind its length, and, in objects of
// long ago, with zeros ahead of numbers, which are decimal.
func prefix(text string) (netip.Prefix, error) {
	_, network, err := netutils.ParseCIDRSloppy(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no network such as 10.1.0.0/16", text)
	}
	a, _ := netip.AddrFromSlice(network.IP)
	length, bits := network.Mask.Size()
	if bits == net.IPv6len*8 && (a.Is4In6() || a.Is4()) { // an IPv4 network in IPv6's notation
		length -= 8 * (net.IPv6len - net.IPv4len)
	}
	p := netip.PrefixFrom(a.Unmap(), length).Masked()
	if !p.IsValid() {
		return p, fmt.Errorf("%q has addresses of both families", text)
	}
	return p, nil
}

func (p *parser) port(at string, r *Rule, port networkingv1.NetworkPolicyPort) {
	number := TCP
	if port.Protocol != nil {
		known, ok := protocols()[*port.Protocol]
		if !ok {
			p.say("%s.protocol: %q is not known: say TCP, UDP or SCTP", at, *port.Protocol)
			return
		}
		number = known
	}
	switch {
	case port.Port == nil && port.EndPort != nil:
		p.say("%s.endPort: it needs a port, where the range begins", at)
	case port.Port == nil:
		r.Ports = append(r.Ports, Ports{number, 0, lastPort})
	case port.Port.Type == intstr.String && port.EndPort != nil:
		p.say("%s.endPort: a range begins with a number, not with the name %q", at, port.Port.StrVal)
	case port.Port.Type == intstr.String:
		r.Named = append(r.Named, Named{number, port.Port.StrVal})
	default:
		last := port.Port.IntVal
		if port.EndPort != nil {
			last = *port.EndPort
		}
		if port.Port.IntVal < 1 || last < port.Port.IntVal || last > lastPort {
			p.say("%s: ports are from 1 to %d, and a range ends behind its beginning", at, lastPort)
			return
		}
		r.Ports = append(r.Ports, Ports{number, uint16(port.Port.IntVal), uint16(last)}) //nolint:gosec // checked
	}
}

const lastPort = 1<<16 - 1

func comparePorts(a, b Ports) int {
	if a.Protocol != b.Protocol {
		return int(a.Protocol) - int(b.Protocol)
	}
	return int(a.First) - int(b.First)
}

// mergePorts joins ranges in order that overlap or touch.
func mergePorts(all []Ports) []Ports {
	var merged []Ports
	for _, x := range all {
		if n := len(merged) - 1; n >= 0 && merged[n].Protocol == x.Protocol && int(x.First) <= int(merged[n].Last)+1 {
			merged[n].Last = max(merged[n].Last, x.Last)
			continue
		}
		merged = append(merged, x)
	}
	return merged
}
