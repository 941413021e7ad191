package policy

import (
	"net/netip"
	"slices"
)

// Flow is the first packet of a connection, as the chains see it: to whom it goes after the translation of
// Services, from whom it comes before masquerade.
type Flow struct {
	From, To netip.Addr
	Protocol uint8
	Port     uint16 // of the receiver
}

// Verdict says whether a flow may pass, and why.
type Verdict struct {
	Denied    bool
	Direction Direction // in which it was denied
	Pod       Key       // whose policies deny it
	Policies  []Key     // that isolate this pod; none if a policy of the cluster denied it
	// Allowed are the policies that let it pass, by direction; the zero Key in a direction in which
	// nothing isolates, or a policy of the cluster decided.
	Allowed [2]Key
	// Cluster are the policies of the cluster that were asked, by direction, in order.
	Cluster [2][]Asked
}

// Asked is a policy of the cluster that was asked about a flow. The next one is asked if no rule of it matches,
// and the next tier if the rule that matches passes the flow on.
type Asked struct {
	*ClusterPolicy

	Rule int // in Rules, the one that matches; -1: none does
}

// Judge decides as the tables of the node do: by the policies of its own pods. A sender that is the node
// itself passes to its pods without a question; ask only for others.
func (b *Book) Judge(f Flow) Verdict {
	var v Verdict
	if f.From == f.To {
		return v // a pod that calls itself by a Service
	}
	for _, d := range []Direction{Egress, Ingress} {
		own, peer := f.To, f.From
		if d == Egress {
			own, peer = f.From, f.To
		}
		p := b.owner(own)
		if p == nil || p.Node != b.node || !p.guarded(d) {
			continue
		}
		if denied := b.judge(&v, p, d, peer, f); denied {
			return v
		}
	}
	return v
}

// judge asks the tiers of a pod one after the other, as its chain does, and says whether one denies.
func (b *Book) judge(v *Verdict, p *podEntry, d Direction, peer netip.Addr, f Flow) (denied bool) {
	action := b.tier(v, p, d, Admin, peer, f)
	if action == Pass {
		if p.isolated(d) {
			return b.isolating(v, p, d, peer, f)
		}
		action = b.tier(v, p, d, Baseline, peer, f)
	}
	if action == Deny {
		v.Denied, v.Direction, v.Pod = true, d, p.Name
	}
	return action == Deny
}

// isolating asks the pod's own policies.
func (b *Book) isolating(v *Verdict, p *podEntry, d Direction, peer netip.Addr, f Flow) (denied bool) {
	by, allowed := b.allows(p, d, peer, f)
	if allowed {
		v.Allowed[d] = by
		return false
	}
	v.Denied, v.Direction, v.Pod = true, d, p.Name
	for _, x := range p.policies {
		if x.Isolates[d] {
			v.Policies = append(v.Policies, x.Name)
		}
	}
	return true
}

// tier asks the policies of the cluster of a tier, and returns what the first rule that matches does. Without
// any the flow passes to the next tier.
func (b *Book) tier(v *Verdict, p *podEntry, d Direction, t Tier, peer netip.Addr, f Flow) Action {
	for _, x := range p.clusters {
		if x.Tier != t || len(x.Rules[d]) == 0 {
			continue
		}
		i := slices.IndexFunc(x.Rules[d], func(r ClusterRule) bool { return b.isPeer(r.Rule, peer) && b.isPort(r.Rule, f) })
		v.Cluster[d] = append(v.Cluster[d], Asked{x.ClusterPolicy, i})
		if i >= 0 {
			return x.Rules[d][i].Action
		}
	}
	return Pass
}

// isolated says whether a policy allows the pod in a direction only what it says.
func (p *podEntry) isolated(d Direction) bool {
	return slices.ContainsFunc(p.policies, func(x *policyEntry) bool { return x.Isolates[d] })
}

// judged says whether policies of the cluster of a tier have rules for the pod in a direction.
func (p *podEntry) judged(d Direction, t Tier) bool {
	return slices.ContainsFunc(p.clusters, func(x *clusterEntry) bool { return x.Tier == t && len(x.Rules[d]) > 0 })
}

// guarded says whether anything judges the pod in a direction.
func (p *podEntry) guarded(d Direction) bool {
	return p.isolated(d) || p.judged(d, Admin) || p.judged(d, Baseline)
}

// allows returns the policy of a pod that lets a flow pass.
func (b *Book) allows(p *podEntry, d Direction, peer netip.Addr, f Flow) (Key, bool) {
	for _, x := range p.policies {
		if !x.Isolates[d] {
			continue
		}
		for _, r := range x.Rules[d] {
			if b.isPeer(r, peer) && b.isPort(r, f) {
				return x.Name, true
			}
		}
	}
	return Key{}, false
}

func (b *Book) isPeer(r Rule, a netip.Addr) bool {
	if r.Anybody || r.Blocks.Contains(a) {
		return true
	}
	p := b.owner(a)
	return p != nil && slices.ContainsFunc(r.Peers, func(s Selector) bool {
		return s.selects(p.Pod, b.namespaces[p.Name.Namespace])
	})
}

func (b *Book) isPort(r Rule, f Flow) bool {
	if r.AnyPort {
		return true
	}
	if !HasPorts(f.Protocol) {
		return false
	}
	if slices.ContainsFunc(r.Ports, func(p Ports) bool { return p.Protocol == f.Protocol && p.First <= f.Port && f.Port <= p.Last }) {
		return true
	}
	called := b.owner(f.To)
	return called != nil && slices.ContainsFunc(r.Named, func(n Named) bool {
		port, has := called.Named(n.Name, n.Protocol)
		return has && n.Protocol == f.Protocol && port == f.Port
	})
}
