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
	Policies  []Key     // that isolate this pod
	// Allowed are the policies that let it pass, by direction; the zero Key in a direction in which
	// nothing isolates.
	Allowed [2]Key
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
		if p == nil || p.Node != b.node || !p.isolated(d) {
			continue
		}
		by, allowed := b.allows(p, d, peer, f)
		if !allowed {
			v.Denied, v.Direction, v.Pod = true, d, p.Name
			for _, x := range p.policies {
				if x.Isolates[d] {
					v.Policies = append(v.Policies, x.Name)
				}
			}
			return v
		}
		v.Allowed[d] = by
	}
	return v
}

// isolated says whether a policy allows the pod in a direction only what it says.
func (p *podEntry) isolated(d Direction) bool {
	return slices.ContainsFunc(p.policies, func(x *policyEntry) bool { return x.Isolates[d] })
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
		port, has := called.named(n.Name, n.Protocol)
		return has && n.Protocol == f.Protocol && port == f.Port
	})
}
