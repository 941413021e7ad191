package ranges

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
)

// span is a stretch of addresses, both ends included.
type span struct{ first, last netip.Addr }

// spansOf are the prefixes of a family, in order and without overlaps.
func spansOf(prefixes []netip.Prefix, is4 bool) []span {
	var all []span
	for _, p := range prefixes {
		if p = canonical(p); p.IsValid() && p.Addr().Is4() == is4 {
			all = append(all, span{p.Addr(), highest(p)})
		}
	}
	slices.SortFunc(all, func(a, b span) int { return a.first.Compare(b.first) })
	var merged []span
	for _, each := range all {
		if end := len(merged) - 1; end >= 0 && !merged[end].last.Less(each.first) {
			if merged[end].last.Less(each.last) {
				merged[end].last = each.last
			}
			continue
		}
		merged = append(merged, each)
	}
	return merged
}

// overlapping returns the first span that has an address of a prefix.
func overlapping(spans []span, p netip.Prefix) (span, bool) {
	at := sort.Search(len(spans), func(i int) bool { return !spans[i].last.Less(p.Addr()) })
	if at == len(spans) || highest(p).Less(spans[at].first) {
		return span{}, false
	}
	return spans[at], true
}

// canonical is a prefix without bits behind its length, and of IPv4 if it maps IPv4.
func canonical(p netip.Prefix) netip.Prefix {
	const mapped = 96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked()
}

// highest is the last address of a prefix.
func highest(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// Owned is a range that a node has.
type Owned struct {
	Node  string
	Range netip.Prefix
}

// Overlap is a range that overlaps with one of another node.
type Overlap struct{ Of, With Owned }

// Overlaps returns the ranges of which another node has a part, each with one of the others.
// It tells of each node: none of them can be sure of its range.
func Overlaps(all []Owned) []Overlap {
	all = slices.Clone(all)
	for i := range all {
		all[i].Range = canonical(all[i].Range)
	}
	all = slices.DeleteFunc(all, func(o Owned) bool { return !o.Range.IsValid() })
	slices.SortFunc(all, func(a, b Owned) int { // a range comes before its parts
		return cmp.Or(a.Range.Addr().Compare(b.Range.Addr()), cmp.Compare(a.Range.Bits(), b.Range.Bits()), cmp.Compare(a.Node, b.Node))
	})
	var found []Overlap
	var around []Owned // ranges that contain one another, the widest first
	for _, each := range all {
		for len(around) > 0 && !around[len(around)-1].Range.Overlaps(each.Range) {
			around = around[:len(around)-1]
		}
		at := slices.IndexFunc(around, func(o Owned) bool { return o.Node != each.Node })
		if at >= 0 {
			found = append(found, Overlap{each, around[at]}, Overlap{around[at], each})
		}
		around = append(around, each)
	}
	return found
}
