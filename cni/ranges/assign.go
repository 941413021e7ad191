package ranges

import "net/netip"

// State is what is known before a decision.
type State struct {
	// Taken are all ranges that somebody has, in any order. They may be of any size, lie
	// outside of the pools, and overlap.
	Taken []netip.Prefix
	// Last are the ranges that were given last, one of each family. It is a hint: lost or
	// wrong, it costs nothing but rest.
	Last []netip.Prefix
}

// Decision is which ranges are given.
type Decision struct {
	// Given are one range of each family, by node.
	Given map[string][]netip.Prefix
	// Last are the ranges that were given last, for the next State.
	Last []netip.Prefix
	// Full are the pools of the families of which no range is free. Nodes that asked and are
	// not in Given are without a range because of them.
	Full []netip.Prefix
}

// Assign gives ranges to the nodes that ask, in their order.
func (p Pools) Assign(s State, asking []string) Decision {
	decision := Decision{Given: make(map[string][]netip.Prefix, len(asking)), Last: s.Last}
	if len(p) == 0 || len(asking) == 0 {
		return decision
	}
	families := p.families()
	var walks []*walk
	for _, family := range families {
		walks = append(walks, family.walk(spansOf(s.Taken, family.is4()), s.Last))
	}
	for _, node := range asking {
		given := make([]netip.Prefix, len(walks))
		for i, walk := range walks {
			free, ok := walk.peek()
			if !ok {
				decision.Full = append(decision.Full, families[i].Ranges()...)
			}
			given[i] = free
		}
		if len(decision.Full) > 0 {
			break
		}
		for _, walk := range walks {
			walk.take()
		}
		decision.Given[node], decision.Last = given, given
	}
	return decision
}
