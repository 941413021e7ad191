package loadbalancer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Range is the addresses from First to Last, both included and of one family.
type Range struct{ First, Last netip.Addr }

// ParseRange reads a network, a range ("first-last") or an address.
func ParseRange(text string) (Range, error) {
	text = strings.TrimSpace(text)
	if first, last, ok := strings.Cut(text, "-"); ok {
		r := Range{}
		var err error
		if r.First, err = parseAddr(strings.TrimSpace(first)); err != nil {
			return Range{}, err
		}
		if r.Last, err = parseAddr(strings.TrimSpace(last)); err != nil {
			return Range{}, err
		}
		if r.First.Is4() != r.Last.Is4() {
			return Range{}, fmt.Errorf("%q begins and ends with different families", text)
		}
		if r.Last.Less(r.First) {
			return Range{}, fmt.Errorf("%q ends before it begins", text)
		}
		return r, unusable(r, text)
	}
	if strings.Contains(text, "/") {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return Range{}, fmt.Errorf("%q is no network", text)
		}
		if prefix.Addr().Is4In6() {
			return Range{}, fmt.Errorf("%q is an IPv4 network in IPv6; write it as IPv4", text)
		}
		if prefix.Masked() != prefix {
			return Range{}, fmt.Errorf("%q is an address in a network; write the network as %s, or the address alone", text, prefix.Masked())
		}
		r := Range{prefix.Addr(), last(prefix)}
		return r, unusable(r, text)
	}
	a, err := parseAddr(text)
	if err != nil {
		return Range{}, err
	}
	return Range{a, a}, unusable(Range{a, a}, text)
}

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is no address, range or network", text)
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone, which other nodes do not know", text)
	case a.Is4In6():
		return netip.Addr{}, fmt.Errorf("%q is an IPv4 address in IPv6; write %s", text, a.Unmap())
	}
	return a, nil
}

// unusable says why no Service can have addresses of a range.
func unusable(r Range, text string) error {
	for _, no := range []struct{ network, what string }{
		{"0.0.0.0/8", "addresses without a meaning"}, {"127.0.0.0/8", "loopback addresses"},
		{"169.254.0.0/16", "link-local addresses"}, {"224.0.0.0/3", "multicast and reserved addresses"},
		{"::/127", "loopback addresses"}, {"fe80::/10", "link-local addresses"}, {"ff00::/8", "multicast addresses"},
	} {
		if r.overlaps(RangeOf(netip.MustParsePrefix(no.network))) {
			return fmt.Errorf("%q has %s", text, no.what)
		}
	}
	return nil
}

// RangeOf is the addresses of a network.
func RangeOf(p netip.Prefix) Range { return Range{p.Masked().Addr(), last(p)} }

// last is the last address of a network.
func last(p netip.Prefix) netip.Addr {
	raw := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(raw)*8; i++ {
		raw[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// Contains says whether an address is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.Is4() == r.First.Is4() && !a.Less(r.First) && !r.Last.Less(a)
}

func (r Range) overlaps(other Range) bool {
	return r.First.Is4() == other.First.Is4() && !r.Last.Less(other.First) && !other.Last.Less(r.First)
}

// String is as ParseRange reads it.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// merge returns the same addresses in order, as few ranges.
func merge(all []Range) []Range {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Range) int { return a.First.Compare(b.First) })
	var merged []Range
	for _, r := range all {
		if n := len(merged); n > 0 && merged[n-1].First.Is4() == r.First.Is4() &&
			(merged[n-1].Contains(r.First) || merged[n-1].Last.Next() == r.First) {
			if merged[n-1].Last.Less(r.Last) {
				merged[n-1].Last = r.Last
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// without returns the addresses of all that are in none of others. Both are merged.
func without(all, others []Range) []Range {
	var rest []Range
	for _, r := range all {
		gone := false
		for _, o := range others {
			if !r.overlaps(o) {
				continue
			}
			if r.First.Less(o.First) {
				rest = append(rest, Range{r.First, o.First.Prev()})
			}
			if !o.Last.Less(r.Last) {
				gone = true
				break
			}
			r.First = o.Last.Next()
		}
		if !gone {
			rest = append(rest, r)
		}
	}
	return rest
}

// count returns how many addresses ranges have, or most if they have more.
func count(all []Range, most uint64) uint64 {
	var total uint64
	for _, r := range all {
		first, last := r.First.As16(), r.Last.As16()
		low := binary.BigEndian.Uint64(last[8:]) - binary.BigEndian.Uint64(first[8:])
		if [8]byte(first[:8]) != [8]byte(last[:8]) || low >= most {
			return most
		}
		if total += low + 1; total >= most {
			return most
		}
	}
	return total
}
