package ipam

import (
	"fmt"
	"iter"
	"math"
	"net/netip"
)

// Ranges are the prefixes whose addresses pods get, in the order in which they
// fill up. A pod gets one address of each family that has a range. Ranges may
// overlap.
//
// The network address of each range is the node's. All others are for pods, to
// the last one, because a pod's address has no broadcast. So a range of one
// address (/32, /128) gives none, and one of two (/31, /127) gives one.
type Ranges []netip.Prefix

// canonical makes every range one that its network address names, and ranges of
// mapped addresses (::ffff:10.1.0.0/112) ranges of IPv4.
func (r Ranges) canonical() (Ranges, error) {
	var canonical Ranges
	for _, p := range r {
		if !p.IsValid() {
			return nil, fmt.Errorf("check ranges: %s is no range", p)
		}
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return nil, fmt.Errorf("check ranges: %s has addresses of both families", p)
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		canonical = append(canonical, p.Masked())
	}
	return canonical, nil
}

// contain says whether a pod may have the address. Ranges must be canonical.
func (r Ranges) contain(a netip.Addr) bool {
	inside := false
	for _, p := range r {
		if p.Addr() == a {
			return false // the node's, even if it lies within another range
		}
		inside = inside || p.Contains(a)
	}
	return inside
}

// family are the ranges of IPv4, or those of IPv6.
func (r Ranges) family(is4 bool) Ranges {
	var family Ranges
	for _, p := range r {
		if p.Addr().Is4() == is4 {
			family = append(family, p)
		}
	}
	return family
}

// after are the addresses of a range, beginning with the one after last and
// going round once. The network address is left out.
func after(p netip.Prefix, last netip.Addr) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		first := p.Addr().Next()
		if !p.Contains(first) {
			return
		}
		start := first
		if next := last.Next(); p.Contains(last) && p.Contains(next) {
			start = next
		}
		for a := start; ; {
			if !yield(a) {
				return
			}
			if a = a.Next(); !p.Contains(a) {
				a = first
			}
			if a == start {
				return
			}
		}
	}
}

// size is how many addresses a range has for pods, at most [math.MaxUint64].
func size(p netip.Prefix) uint64 {
	if free := p.Addr().BitLen() - p.Bits(); free < 64 {
		return 1<<free - 1
	}
	return math.MaxUint64
}
