package service

import (
	"fmt"
	"slices"
	"time"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// localSlots is the slot of the first endpoint of this node.
const localSlots = 1 << 16

// How many slots a port has.
const (
	mostEndpoints = localSlots
	mostSticky    = 1<<(28-affinityBits) - 1 // with session affinity
)

// pick is a chain that chooses among endpoints. Every front with as many endpoints, and the
// same affinity, uses the same chain.
type pick struct {
	endpoints uint32
	local     bool
	nodePort  bool
	affinity  time.Duration
}

func (p pick) name() string {
	name := "pick-" + fmt.Sprint(p.endpoints)
	if p.local {
		name += "-local"
	}
	if p.affinity > 0 {
		name += fmt.Sprintf("-%ds", p.affinity/time.Second)
	}
	return of(name, p.nodePort)
}

func (p pick) offset() uint32 {
	if p.local {
		return localSlots
	}
	return 0
}

func (p pick) members() string {
	if p.local {
		return localMembers
	}
	return members
}

// A way is one number: nft cannot list a rule that looks a value of several fields up in a
// second map. It has the flags, and the number of endpoints or of a fixed chain. With affinity it
// has the affinity in seconds, which the API server bounds to a day, and the endpoints above it.
const (
	nodePortBit  = 1 << 28
	localBit     = 1 << 29
	fixedBit     = 1 << 30
	stickyBit    = 1 << 31
	affinityBits = 17
)

// drop is no chain, but a way.
const drop = "drop"

// fixedChains are where fronts lead that lead to no endpoints, or not at once.
func fixedChains() []string { return []string{refuse, drop, bySource, guarded} }

// fixed is the way to a fixed chain.
func fixed(name string, nodePort bool) nft.Value {
	number := uint32(fixedBit + slices.Index(fixedChains(), name)) //nolint:gosec // it is one of four
	if nodePort {
		number |= nodePortBit
	}
	return nft.Number(number)
}

// fixedWays are those that every table has.
func fixedWays() []nft.Element {
	all := []nft.Element{
		{Key: fixed(refuse, false), Verdict: nft.Goto(refuse)},
		{Key: fixed(drop, false), Verdict: nft.Drop()},
	}
	for _, name := range []string{bySource, guarded} {
		for _, nodePort := range []bool{false, true} {
			all = append(all, nft.Element{Key: fixed(name, nodePort), Verdict: nft.Goto(of(name, nodePort))})
		}
	}
	return all
}

// way is the way to a pick.
func (p pick) way() nft.Value {
	number := p.endpoints
	if p.affinity > 0 {
		number = p.endpoints<<affinityBits | uint32(p.affinity/time.Second) | stickyBit //nolint:gosec // at most a day
	}
	if p.local {
		number |= localBit
	}
	if p.nodePort {
		number |= nodePortBit
	}
	return nft.Number(number)
}

// chain is the chain of a pick.
func (t table) chain(p pick) nft.Chain {
	key := t.key(p.nodePort)
	slot := func(s nft.Source) nft.Sequence {
		return nft.DNATMap(t.Family, endpoints, append(key[:3:3], s)...)
	}
	chain := nft.Chain{Name: p.name()}
	if p.affinity > 0 {
		chain.Rules = t.remember(p)
	}
	chain.Rules = append(chain.Rules,
		rule(slot(nft.Random(p.endpoints, p.offset()))),
		// Two lookups of one packet can see two commits. Slot 0 is there in both.
		nft.Rule{Comment: "a commit between two lookups", Do: nft.Do(slot(nft.Constant(nft.Number(p.offset()))))},
		rule(nft.Drop()),
	)
	return chain
}

// remember are the rules that give a client the endpoint that it had. The registers hold
// source, destination, protocol and port, then address and port of an endpoint.
func (t table) remember(p pick) []nft.Rule {
	width := nft.Register(1) // of an address
	if t.Family == nft.IPv6 {
		width = 4
	}
	saddr, daddr := nft.Register(0), width
	dport := daddr + width + 1
	addr := dport + 1
	port := addr + width
	key := t.key(p.nodePort)
	// Address and port are loaded as placeholders: a register must be written before a map's
	// value ends in it, for nft to list the rule.
	load := nft.Load(daddr, append(key[:3:3], nft.Daddr(t.Family), nft.Dport())...)
	value := nft.Destination{Kind: nft.ToRegister, To: dport}
	write := func(o nft.Operation, timeout time.Duration) nft.Expression {
		return nft.WriteSet{Operation: o, Set: clients, Key: saddr, Value: value, Timeout: timeout}
	}
	return []nft.Rule{
		{Comment: "a known client gets the endpoint that it had", Do: nft.Do(
			nft.Load(saddr, nft.Saddr(t.Family)), load,
			nft.Lookup{From: saddr, Set: clients, Into: value}, nft.Load(dport, nft.Dport()),
			nft.Lookup{From: daddr, Set: p.members()},
			write(nft.Update, p.affinity), nft.DNAT(t.Family, addr, port))},
		// Add leaves the value of an element that is there: it goes first.
		{Comment: "a new client is remembered", Do: nft.Do(
			load, nft.Load(daddr-1, nft.Random(p.endpoints, p.offset())),
			nft.Lookup{From: daddr - 1, Set: sticky, Into: value}, nft.Load(dport, nft.Dport()),
			nft.Load(saddr, nft.Saddr(t.Family)),
			write(nft.Delete, 0), write(nft.Add, p.affinity), nft.DNAT(t.Family, addr, port))},
	}
}
