//go:build linux

package policy

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// hash is a short name for a text that is too long for one.
func hash(kind, text string) string {
	const length = 13 // 65 bits: a hundred thousand texts agree with a chance of 10^-10
	sum := sha256.Sum256([]byte(text))
	return kind + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:length])
}

// words are the beginning of a text that fits a comment of nftables.
func words(text string) string {
	const most = 120
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// set is the addresses of the pods that a selector means.
func (s Selector) set(f nft.Family) nft.Set {
	return nft.Set{Name: hash("pods", s.id), Comment: words(s.id), Key: nft.Type{f.Address()}}
}

// set is the pods with a port of a name, and the number that it has there.
func (n Named) set(f nft.Family) nft.Set {
	text := fmt.Sprintf("%s/%d", n.Name, n.Protocol)
	return nft.Set{Name: hash("named", text), Comment: words("port " + text), Key: nft.Type{f.Address(), nft.InetProto, nft.InetService}}
}

// chain is that of a policy for a direction.
func (p *Policy) chain(d Direction) string {
	return hash("policy-"+d.guards(), p.Name.String())
}

// chain is that of a pod for a direction, and the name of the counter of what it has denied.
func (p *Pod) chain(d Direction) string { return fmt.Sprintf("%s-%s", d.guards(), p.UID) }

// ownChain is where rules of the cluster that pass lead.
func (p *Pod) ownChain(d Direction) string { return p.chain(d) + "-own" }

// chain is that of a policy for a direction, and the name of the counter of what it has denied.
func (p *ClusterPolicy) chain(d Direction) string { return hash("cluster-"+d.guards(), p.Name) }

// DeniedByCluster is the counter of the packets that a policy of the cluster has denied in a direction.
func DeniedByCluster(p *ClusterPolicy, d Direction) string { return p.chain(d) }

// Denied is the counter of the packets that a pod's policies of a direction have denied.
func Denied(p *Pod, d Direction) string { return p.chain(d) }

// writer gathers the part of a key in one family.
type writer struct {
	nft.Family

	part nft.Part
	has  map[string]bool // sets
}

func newWriter(f nft.Family) *writer {
	return &writer{Family: f, part: nft.Part{Elements: map[string][]nft.Element{}}, has: map[string]bool{}}
}

func (w *writer) set(s nft.Set) string {
	if !w.has[s.Name] {
		w.has[s.Name] = true
		w.part.Sets = append(w.part.Sets, s)
	}
	return s.Name
}

func (w *writer) add(set string, elements ...nft.Element) {
	w.part.Elements[set] = append(w.part.Elements[set], elements...)
}

// podParts are what a pod wants, and the sets in which its addresses are; nil wants nothing.
func (b *Book) podParts(p *podEntry) (map[nft.Family]nft.Part, map[string]bool) {
	parts, sets := map[nft.Family]nft.Part{}, map[string]bool{}
	for _, f := range families() {
		w := newWriter(f)
		if p != nil {
			for _, a := range p.Addresses {
				if familyOf(a) == f && b.owner(a) == p {
					b.address(w, p, a)
				}
			}
		}
		for name := range w.has {
			sets[name] = true
		}
		parts[f] = w.part
	}
	return parts, sets
}

// address adds what a pod wants for one of its addresses.
func (b *Book) address(w *writer, p *podEntry, a netip.Addr) {
	key := nft.Addr(a)
	namespace := b.namespaces[p.Name.Namespace]
	for _, s := range b.selectors {
		if s.selects(p.Pod, namespace) {
			w.add(w.set(s.set(w.Family)), nft.Element{Key: key})
		}
	}
	for n := range b.named {
		if port, has := p.Named(n.Name, n.Protocol); has {
			w.add(w.set(n.set(w.Family)), nft.Element{Key: nft.Concat(key, nft.Proto(n.Protocol), nft.Port(port))})
		}
	}
	isolated := false
	for _, d := range directions() {
		if !p.guarded(d) {
			continue
		}
		isolated = true
		w.add(d.guards(), nft.Element{Key: key, Verdict: nft.Goto(p.chain(d))})
		w.part.Counters = append(w.part.Counters, Denied(p.Pod, d))
		w.part.Chains = append(w.part.Chains, p.guard(d))
		if p.judged(d, Admin) {
			w.add(d.own(), nft.Element{Key: key, Verdict: nft.Goto(p.ownChain(d))})
			w.part.Chains = append(w.part.Chains, nft.Chain{Name: p.ownChain(d), Comment: words(p.Name.String()), Rules: p.own(d)})
		}
	}
	if isolated {
		w.add(self, nft.Element{Key: nft.Concat(key, key)})
	}
}

// guard is the chain of a pod: the cluster's policies of the tier Admin, then what it has itself.
func (p *podEntry) guard(d Direction) nft.Chain {
	chain := nft.Chain{Name: p.chain(d), Comment: words(p.Name.String())}
	chain.Rules = append(p.tier(d, Admin), p.own(d)...)
	return chain
}

func (p *podEntry) tier(d Direction, t Tier) []nft.Rule {
	var all []nft.Rule
	for _, x := range p.clusters {
		if x.Tier == t && len(x.Rules[d]) > 0 {
			all = append(all, rule(nft.Jump(x.chain(d))))
		}
	}
	return all
}

// own are the rules behind the tier Admin: what none of the pod's policies allows is denied. If none
// isolates it, the tier Baseline judges. They end in a verdict.
func (p *podEntry) own(d Direction) []nft.Rule {
	if !p.isolated(d) {
		return append(p.tier(d, Baseline), rule(nft.Accept()))
	}
	var all []nft.Rule
	for _, x := range p.policies {
		if x.Isolates[d] && len(x.Rules[d]) > 0 {
			all = append(all, rule(nft.Jump(x.chain(d))))
		}
	}
	return append(all, p.denial(d)...)
}

// policyParts are the chains of a policy that selects pods of the node.
func (b *Book) policyParts(name Key) map[nft.Family]nft.Part {
	parts := map[nft.Family]nft.Part{}
	p := b.policies[name.Namespace][name]
	for _, f := range families() {
		w := newWriter(f)
		if p != nil && p.users > 0 {
			for _, d := range directions() {
				if len(p.Rules[d]) > 0 {
					w.part.Chains = append(w.part.Chains, w.chain(p.Policy, d))
				}
			}
		}
		parts[f] = w.part
	}
	return parts
}

func (w *writer) chain(p *Policy, d Direction) nft.Chain {
	chain := nft.Chain{Name: p.chain(d), Comment: words(p.Name.String())}
	for i, r := range p.Rules[d] {
		chain.Rules = append(chain.Rules, w.rules(r, d, fmt.Sprintf("rule %d", i), nft.Accept())...)
	}
	return chain
}

// rules do something with what matches a rule.
func (w *writer) rules(r Rule, d Direction, comment string, do ...nft.Expression) []nft.Rule {
	var all []nft.Rule
	for _, peer := range w.peers(r, d) {
		for _, port := range w.ports(r) {
			all = append(all, nft.Rule{Comment: comment, Do: nft.Do(append(slices.Concat(peer, port), do...)...)})
		}
	}
	return all
}

// clusterParts are the chains of a policy of the cluster that selects pods of the node.
func (b *Book) clusterParts(name string) map[nft.Family]nft.Part {
	parts := map[nft.Family]nft.Part{}
	p := b.clusters[name]
	for _, f := range families() {
		w := newWriter(f)
		if p != nil && p.users > 0 {
			for _, d := range directions() {
				if len(p.Rules[d]) > 0 {
					w.part.Chains = append(w.part.Chains, w.clusterChain(p.ClusterPolicy, d, b.LogDenied))
					w.part.Counters = append(w.part.Counters, DeniedByCluster(p.ClusterPolicy, d))
				}
			}
		}
		parts[f] = w.part
	}
	return parts
}

func (w *writer) clusterChain(p *ClusterPolicy, d Direction, logs bool) nft.Chain {
	chain := nft.Chain{Name: p.chain(d), Comment: words(p.Name)}
	for i, r := range p.Rules[d] {
		comment := words(fmt.Sprintf("rule %d %s", i, r.Name))
		if r.Action == Deny && logs {
			chain.Rules = append(chain.Rules, w.rules(r.Rule, d, comment, logging(ClusterLogPrefix(p, d))...)...)
		}
		do := []nft.Expression{nft.Accept()}
		switch {
		case r.Action == Deny:
			do = []nft.Expression{nft.Count{Name: DeniedByCluster(p, d)}, nft.Drop()}
		case r.Action == Pass && p.Tier == Admin:
			// The pod decides: a chain of its own, which ends in a verdict.
			do = []nft.Expression{nft.VMap(d.own(), d.pod(w.Family))}
		}
		chain.Rules = append(chain.Rules, w.rules(r.Rule, d, comment, do...)...)
	}
	return chain
}

// match is expressions that a packet passes if it matches.
type match []nft.Expression

// peers are the matches of a rule's peers: one of them must.
func (w *writer) peers(r Rule, d Direction) []match {
	if r.Anybody {
		return []match{nil}
	}
	var all []match
	for _, s := range r.Peers {
		all = append(all, match{nft.In(w.set(s.set(w.Family)), d.peer(w.Family))})
	}
	if blocks := r.Blocks.family(w.Family == nft.IPv6); len(blocks) > 0 {
		all = append(all, match{nft.In(w.blocks(blocks), d.peer(w.Family))})
	}
	return all
}

// blocks is the set of ranges.
func (w *writer) blocks(ranges Ranges) string {
	var text strings.Builder
	for _, r := range ranges {
		fmt.Fprintf(&text, "%s-%s ", r.First, r.Last)
	}
	s := nft.Set{Name: hash("block", text.String()), Comment: words(text.String()), Key: nft.Type{w.Address()}, Interval: true}
	if !w.has[s.Name] {
		for _, r := range ranges {
			w.add(s.Name, nft.Element{Key: nft.Addr(r.First), End: nft.Addr(r.Last)})
		}
	}
	return w.set(s)
}

// ports are the matches of a rule's ports: one of them must.
func (w *writer) ports(r Rule) []match {
	if r.AnyPort {
		return []match{nil}
	}
	var all []match
	switch {
	case len(r.Ports) == 1:
		all = append(all, r.Ports[0].match())
	case len(r.Ports) > 1:
		all = append(all, match{nft.In(w.portSet(r.Ports), nft.L4Proto(), nft.Dport())})
	}
	for _, n := range r.Named {
		all = append(all, match{nft.In(w.set(n.set(w.Family)), nft.Daddr(w.Family), nft.L4Proto(), nft.Dport())})
	}
	return all
}

func (p Ports) match() match {
	m := match{nft.Is(nft.L4Proto(), nft.Proto(p.Protocol))}
	switch {
	case p.First == 0 && p.Last == lastPort:
		return m
	case p.First == p.Last:
		return append(m, nft.Is(nft.Dport(), nft.Port(p.First)))
	default:
		return append(m, nft.IsBetween(nft.Dport(), nft.Port(p.First), nft.Port(p.Last)))
	}
}

func (p Ports) String() string {
	protocol := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp"}[p.Protocol]
	if p.First == p.Last {
		return fmt.Sprintf("%s/%d", protocol, p.First)
	}
	return fmt.Sprintf("%s/%d-%d", protocol, p.First, p.Last)
}

func (w *writer) portSet(ports []Ports) string {
	var text strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&text, "%s ", p)
	}
	s := nft.Set{Name: hash("ports", text.String()), Comment: words(text.String()), Key: nft.Type{nft.InetProto, nft.InetService}, Interval: true}
	if !w.has[s.Name] {
		for _, p := range ports {
			w.add(s.Name, nft.Element{
				Key: nft.Concat(nft.Proto(p.Protocol), nft.Port(p.First)), End: nft.Concat(nft.Proto(p.Protocol), nft.Port(p.Last)),
			})
		}
	}
	return w.set(s)
}
