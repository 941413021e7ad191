//go:build linux

package policy

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// name of the tables, and the version of what they hold.
const (
	name    = "fairway-policy"
	version = 1
)

// Names of sets, maps and chains.
const (
	cut    = "cut"
	self   = "self"
	cutOff = "cut-off"
)

// guards is the map from a pod's address to its chain.
func (d Direction) guards() string {
	if d == Egress {
		return "egress"
	}
	return "ingress"
}

// own is the map from a pod's address to the chain behind the policies of the tier Admin.
func (d Direction) own() string { return d.guards() + "-own" }

// pod is the address of the pod that a direction is about.
func (d Direction) pod(f nft.Family) nft.Source {
	if d == Egress {
		return nft.Saddr(f)
	}
	return nft.Daddr(f)
}

// peer is the address that the selectors of a direction are about.
func (d Direction) peer(f nft.Family) nft.Source {
	if d == Egress {
		return nft.Daddr(f)
	}
	return nft.Saddr(f)
}

// CutFor is how long packets of a connection that was cut are refused. It must be longer than both
// ends may be silent.
const CutFor = 24 * time.Hour

// MostCut bounds the connections of each family that are cut at a time.
const MostCut = 1 << 16

func families() []nft.Family { return []nft.Family{nft.IPv4, nft.IPv6} }

func familyOf(a netip.Addr) nft.Family {
	if a.Is6() {
		return nft.IPv6
	}
	return nft.IPv4
}

// TableKey of the table of a family.
func TableKey(f nft.Family) nft.TableKey { return nft.TableKey{Family: f, Name: name} }

// Tables returns the tables without elements: all packets pass.
func Tables() []nft.Table {
	var all []nft.Table
	for _, f := range families() {
		a := f.Address()
		verdict := nft.Type{nft.Verdicts}
		all = append(all, nft.Table{
			Family: f, Name: name, Version: version,
			Sets: []nft.Set{
				{
					Name: cut, Comment: "connections that are no longer allowed, both directions of each",
					Key: nft.Type{nft.InetProto, a, nft.InetService, a, nft.InetService}, Timed: true, Timeout: CutFor, Size: 2 * MostCut,
				},
				{Name: self, Comment: "pods that call themselves", Key: nft.Type{a, a}},
				{Name: Ingress.guards(), Comment: "who is isolated, by the receiver", Key: nft.Type{a}, Value: verdict},
				{Name: Egress.guards(), Comment: "who is isolated, by the sender", Key: nft.Type{a}, Value: verdict},
				{Name: Ingress.own(), Comment: "where cluster policies pass to, by the receiver", Key: nft.Type{a}, Value: verdict},
				{Name: Egress.own(), Comment: "where cluster policies pass to, by the sender", Key: nft.Type{a}, Value: verdict},
			},
			Chains: chains(f),
		})
	}
	return all
}

// rule is a rule without a comment.
func rule(steps ...nft.Expression) nft.Rule { return nft.Rule{Do: nft.Do(steps...)} }

// chains judge the first packet of a connection, and each that belongs to none: what is established
// passes. The sender's policies and the receiver's are two base chains, because "accept" ends one and
// not the other. What the node itself sends passes none of them.
func chains(f nft.Family) []nft.Chain {
	hook := func(point nft.HookPoint, priority int32) *nft.Hook {
		return &nft.Hook{Type: nft.Filter, Point: point, Priority: priority}
	}
	open := rule(nft.HasAny(nft.CtState(), nft.CtEstablished|nft.CtRelated), nft.Accept())
	flow := []nft.Source{nft.L4Proto(), nft.Saddr(f), nft.Sport(), nft.Daddr(f), nft.Dport()}
	cutOpen := rule(nft.In(cut, flow...), nft.Jump(cutOff))
	own := rule(nft.In(self, nft.Saddr(f), nft.Daddr(f)), nft.Accept())
	guard := func(d Direction) nft.Rule { return rule(nft.VMap(d.guards(), d.pod(f))) }
	input := []nft.Rule{open, cutOpen}
	if f == nft.IPv6 {
		const first, last = 133, 137 // from router solicitation to redirect
		input = append(input, nft.Rule{Comment: "neighbour discovery: without it a pod has no gateway", Do: nft.Do(
			nft.Is(nft.L4Proto(), nft.Proto(unix.IPPROTO_ICMPV6)), nft.IsBetween(nft.ICMPType(), nft.Proto(first), nft.Proto(last)), nft.Accept())})
	}
	return []nft.Chain{
		{Name: "forward-egress", Hook: hook(nft.Forward, 0), Rules: []nft.Rule{open, cutOpen, own, guard(Egress)}},
		{Name: "forward-ingress", Hook: hook(nft.Forward, 1), Rules: []nft.Rule{open, own, guard(Ingress)}},
		{Name: "input", Hook: hook(nft.Input, 0), Rules: append(input, guard(Egress))},
		{Name: cutOff, Rules: []nft.Rule{
			// A new connection with the same ports is judged anew.
			rule(nft.Is(nft.L4Proto(), nft.Proto(unix.IPPROTO_TCP)),
				nft.IsMasked(nft.TCPFlags(), nft.Proto(nft.FIN|nft.SYN|nft.RST|nft.ACK), nft.Proto(nft.SYN)), nft.Return()),
			rule(nft.Is(nft.L4Proto(), nft.Proto(unix.IPPROTO_TCP)), nft.RejectTCP()),
			rule(nft.Drop()),
		}},
	}
}
