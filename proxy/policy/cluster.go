package policy

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/api/problem"
)

// ClusterKinds are ClusterNetworkPolicy in the versions that are understood, the best first. They have the same
// fields. A cluster may have one of them, or none.
func ClusterKinds() []schema.GroupVersionKind {
	var all []schema.GroupVersionKind
	for _, version := range []string{"v1beta1", "v1alpha2"} {
		all = append(all, schema.GroupVersionKind{Group: policyv1.GroupName, Version: version, Kind: "ClusterNetworkPolicy"})
	}
	return all
}

// Action is what a rule of a ClusterPolicy does with what matches it.
type Action uint8

// The actions. Pass leaves a packet to the next tier.
const (
	Accept Action = iota
	Deny
	Pass
)

// String is the API's word.
func (a Action) String() string { return [...]string{"Accept", "Deny", "Pass"}[a] }

// Tier says whether a ClusterPolicy judges before or after NetworkPolicies.
type Tier uint8

// The tiers. Baseline judges pods that no NetworkPolicy isolates.
const (
	Admin Tier = iota
	Baseline
)

// String is the API's word.
func (t Tier) String() string { return [...]string{"Admin", "Baseline"}[t] }

// ClusterPolicy is what one ClusterNetworkPolicy says. Its rules are tried in order; the first that matches
// decides.
type ClusterPolicy struct {
	Name     string
	Tier     Tier
	Priority int32 // lower comes first; of equal ones the name decides
	Pods     Selector
	Rules    [2][]ClusterRule
}

// Selects says whether the policy is about a pod of a namespace with labels.
func (p *ClusterPolicy) Selects(pod *Pod, namespace labels.Set) bool {
	return p.Pods.selects(pod, namespace)
}

// ClusterRule is a rule with an action.
type ClusterRule struct {
	Rule

	Name   string
	Action Action
}

// ParseCluster returns what a ClusterNetworkPolicy says, and what of it cannot be understood. A rule that
// denies then denies everybody, and one that accepts or passes does nothing.
func ParseCluster(np *policyv1.ClusterNetworkPolicy) (*ClusterPolicy, []problem.Problem) {
	p := &parser{}
	policy := &ClusterPolicy{Name: np.Name, Priority: np.Spec.Priority}
	switch np.Spec.Tier {
	case policyv1.AdminTier:
	case policyv1.BaselineTier:
		policy.Tier = Baseline
	default:
		p.say("spec.tier: %q is not known: say Admin or Baseline; it is Admin now", np.Spec.Tier)
	}
	subject, understood := p.pods("spec.subject", np.Spec.Subject.Namespaces, np.Spec.Subject.Pods)
	if policy.Pods = subject; !understood {
		p.say("spec.subject: it means all pods of the cluster now")
		policy.Pods, _ = newSelector("", &metav1.LabelSelector{}, nil)
	}
	for i, r := range np.Spec.Ingress {
		at := fmt.Sprintf("spec.ingress[%d]", i)
		rule := p.clusterRule(at, r.Name, r.Action, r.Protocols)
		whole := len(r.From) > 0
		for j, from := range r.From {
			whole = p.selects(fmt.Sprintf("%s.from[%d]", at, j), &rule, from.Namespaces, from.Pods) && whole
		}
		policy.Rules[Ingress] = append(policy.Rules[Ingress], closed(rule, whole))
	}
	for i, r := range np.Spec.Egress {
		at := fmt.Sprintf("spec.egress[%d]", i)
		rule := p.clusterRule(at, r.Name, r.Action, r.Protocols)
		whole := len(r.To) > 0
		for j, to := range r.To {
			whole = p.clusterPeer(fmt.Sprintf("%s.to[%d]", at, j), &rule, to) && whole
		}
		rule.Blocks = merge(rule.Blocks)
		policy.Rules[Egress] = append(policy.Rules[Egress], closed(rule, whole))
	}
	return policy, p.problems("ClusterNetworkPolicy", Key{Name: np.Name})
}

// closed is a rule whose peers were all understood, or what keeps closed what it is about.
func closed(r ClusterRule, understood bool) ClusterRule {
	if !understood && r.Action == Deny {
		r.Anybody = true
	}
	return r
}

func (p *parser) clusterRule(at, name string, action policyv1.ClusterNetworkPolicyRuleAction, protocols []policyv1.ClusterNetworkPolicyProtocol) ClusterRule {
	r := ClusterRule{Name: name}
	switch action {
	case policyv1.ClusterNetworkPolicyRuleActionAccept:
	case policyv1.ClusterNetworkPolicyRuleActionDeny:
		r.Action = Deny
	case policyv1.ClusterNetworkPolicyRuleActionPass:
		r.Action = Pass
	default:
		p.say("%s.action: %q is not known: say Accept, Deny or Pass; it is Deny now", at, action)
		r.Action = Deny
	}
	r.AnyPort = len(protocols) == 0
	for i, protocol := range protocols {
		if !p.protocol(fmt.Sprintf("%s.protocols[%d]", at, i), &r.Rule, protocol) && r.Action == Deny {
			r.AnyPort = true
		}
	}
	return r
}

// protocol adds the ports of a protocol. It says whether all of it was understood.
func (p *parser) protocol(at string, r *Rule, x policyv1.ClusterNetworkPolicyProtocol) bool {
	switch {
	case x.DestinationNamedPort != "":
		for _, number := range []uint8{TCP, UDP, SCTP} {
			r.Named = append(r.Named, Named{number, x.DestinationNamedPort})
		}
		return true
	case x.TCP != nil:
		return p.clusterPort(at+".tcp", r, TCP, x.TCP.DestinationPort)
	case x.UDP != nil:
		return p.clusterPort(at+".udp", r, UDP, x.UDP.DestinationPort)
	case x.SCTP != nil:
		return p.clusterPort(at+".sctp", r, SCTP, x.SCTP.DestinationPort)
	default:
		p.say("%s: it has none of tcp, udp, sctp and destinationNamedPort that this version knows", at)
		return false
	}
}

func (p *parser) clusterPort(at string, r *Rule, protocol uint8, port *policyv1.Port) bool {
	first, last := int32(0), int32(lastPort)
	switch {
	case port == nil:
	case port.Range != nil:
		first, last = port.Range.Start, port.Range.End
	case port.Number != 0:
		first, last = port.Number, port.Number
	default:
		p.say("%s.destinationPort: it has neither number nor range that this version knows", at)
		return false
	}
	if first < 0 || last < first || last > lastPort {
		p.say("%s.destinationPort: ports are from 1 to %d, and a range ends behind its beginning", at, lastPort)
		return false
	}
	r.Ports = append(r.Ports, Ports{protocol, uint16(first), uint16(last)}) //nolint:gosec // checked
	return true
}

// pods is the selector of a subject or a peer. It says whether there is one that it understands.
func (p *parser) pods(at string, namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod) (Selector, bool) {
	switch {
	case namespaces != nil && pods == nil:
		s, err := newSelector("", namespaces, nil)
		if err != nil {
			p.say("%s.namespaces: %v", at, errors.Unwrap(err)) // which names another field
		}
		return s, err == nil
	case pods != nil && namespaces == nil:
		s, err := newSelector("", &pods.NamespaceSelector, &pods.PodSelector)
		if err != nil {
			p.say("%s.pods.%v", at, err)
		}
		return s, err == nil
	default:
		p.say("%s: it has not exactly one of the fields that this version knows", at)
		return Selector{}, false
	}
}

func (p *parser) selects(at string, r *ClusterRule, namespaces *metav1.LabelSelector, pods *policyv1.NamespacedPod) bool {
	s, understood := p.pods(at, namespaces, pods)
	if understood {
		r.Peers = append(r.Peers, s)
	}
	return understood
}

func (p *parser) clusterPeer(at string, r *ClusterRule, to policyv1.ClusterNetworkPolicyEgressPeer) bool {
	switch {
	case to.Nodes != nil:
		p.say("%s.nodes: it is not supported: name the nodes' addresses as networks", at)
		return false
	case len(to.DomainNames) > 0:
		p.say("%s.domainNames: it is not supported: name addresses as networks", at)
		return false
	case len(to.Networks) > 0 && (to.Namespaces != nil || to.Pods != nil):
		p.say("%s: it has not exactly one of the fields that this version knows", at)
		return false
	case len(to.Networks) > 0:
		return p.networks(at, r, to.Networks)
	default:
		return p.selects(at, r, to.Namespaces, to.Pods)
	}
}

// networks adds networks, all or none.
func (p *parser) networks(at string, r *ClusterRule, all []policyv1.CIDR) bool {
	var blocks Ranges
	for i, text := range all {
		network, err := prefix(string(text))
		if err != nil {
			p.say("%s.networks[%d]: %v", at, i, err)
			return false
		}
		blocks = append(blocks, rangeOf(network))
	}
	r.Blocks = append(r.Blocks, blocks...)
	return true
}

// Compare is negative if a policy is asked before another one.
func (p *ClusterPolicy) Compare(other *ClusterPolicy) int {
	return cmp.Or(cmp.Compare(p.Tier, other.Tier), cmp.Compare(p.Priority, other.Priority), strings.Compare(p.Name, other.Name))
}
