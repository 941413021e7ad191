package mesh

import (
	"cmp"
	"net/netip"
	"slices"
)

// claim is a range of a node.
type claim struct {
	pods netip.Prefix
	node string
}

// claims finds, among all ranges, those that overlap with one.
type claims struct {
	sorted  []claim                 // by address
	owners  map[netip.Prefix]string // the first node by name
	lengths map[int]bool            // that prefixes have, negative for IPv6
}

func newClaims(nodes []Node) *claims {
	c := &claims{owners: map[netip.Prefix]string{}, lengths: map[int]bool{}}
	for _, node := range nodes {
		for _, pods := range node.Ranges {
			c.sorted = append(c.sorted, claim{pods, node.Name})
			if owner, ok := c.owners[pods]; !ok || node.Name < owner {
				c.owners[pods] = node.Name
			}
			c.lengths[length(pods.Addr(), pods.Bits())] = true
		}
	}
	slices.SortFunc(c.sorted, func(a, b claim) int {
		return cmp.Or(a.pods.Addr().Compare(b.pods.Addr()), cmp.Compare(a.node, b.node))
	})
	return c
}

func length(of netip.Addr, bits int) int {
	if of.Is6() {
		return -bits - 1 // never that of IPv4
	}
	return bits
}

// rival returns the node with a range that overlaps, other than the one named, that comes
// first by name; empty: there is none. Of two prefixes that overlap, one holds the other.
func (c *claims) rival(pods netip.Prefix, node string) string {
	first := ""
	consider := func(owner string) {
		if owner != node && (first == "" || owner < first) {
			first = owner
		}
	}
	for bits := range pods.Bits() { // those that hold it
		if !c.lengths[length(pods.Addr(), bits)] {
			continue
		}
		if wider, err := pods.Addr().Prefix(bits); err == nil {
			if owner, ok := c.owners[wider]; ok {
				consider(owner)
			}
		}
	}
	at, _ := slices.BinarySearchFunc(c.sorted, pods.Addr(), func(x claim, address netip.Addr) int { return x.pods.Addr().Compare(address) })
	for ; at < len(c.sorted) && pods.Contains(c.sorted[at].pods.Addr()); at++ { // itself, and those in it
		if c.sorted[at].pods.Bits() >= pods.Bits() {
			consider(c.sorted[at].node)
		}
	}
	return first
}
