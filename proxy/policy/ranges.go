package policy

import (
	"net/netip"
	"slices"
)

// Range is the addresses from First to Last, of one family.
type Range struct{ First, Last netip.Addr }

func (r Range) contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Ranges are apart from one another and in order.
type Ranges []Range

// Contains says whether an address is in one of the ranges.
func (r Ranges) Contains(a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(r, a, func(x Range, a netip.Addr) int { return x.First.Compare(a) })
	if found {
		return true
	}
	return i > 0 && r[i-1].contains(a)
}

// family returns the ranges of a family.
func (r Ranges) family(ipv6 bool) Ranges {
	var all Ranges
	for _, x := range r {
		if x.First.Is6() == ipv6 {
			all = append(all, x)
		}
	}
	return all
}

// rangeOf is all addresses of a network.
func rangeOf(p netip.Prefix) Range {
	first := p.Masked().Addr()
	last := first.AsSlice()
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return Range{first, end}
}

// without is a network less others.
func without(p netip.Prefix, others []netip.Prefix) Ranges {
	left := Ranges{rangeOf(p)}
	for _, other := range others {
		hole := rangeOf(other)
		var rest Ranges
		for _, x := range left {
			rest = append(rest, x.less(hole)...)
		}
		left = rest
	}
	return left
}

func (r Range) less(hole Range) Ranges {
	if hole.First.BitLen() != r.First.BitLen() || hole.Last.Less(r.First) || r.Last.Less(hole.First) {
		return Ranges{r}
	}
	var rest Ranges
	if r.First.Less(hole.First) {
		rest = append(rest, Range{r.First, hole.First.Prev()})
	}
	if hole.Last.Less(r.Last) {
		rest = append(rest, Range{hole.Last.Next(), r.Last})
	}
	return rest
}

// merge joins what overlaps or touches: the kernel takes no ranges that overlap.
func merge(all Ranges) Ranges {
	slices.SortFunc(all, func(a, b Range) int { return a.First.Compare(b.First) })
	var merged Ranges
	for _, x := range all {
		if n := len(merged) - 1; n >= 0 && merged[n].First.BitLen() == x.First.BitLen() && x.First.Compare(behind(merged[n].Last)) <= 0 {
			if merged[n].Last.Less(x.Last) {
				merged[n].Last = x.Last
			}
			continue
		}
		merged = append(merged, x)
	}
	return merged
}

// behind is the address after a, or a itself if it is the last one.
func behind(a netip.Addr) netip.Addr {
	if next := a.Next(); next.IsValid() {
		return next
	}
	return a
}
