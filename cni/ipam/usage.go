package ipam

import "net/netip"

// Usage is how full a range is.
type Usage struct {
	Range netip.Prefix
	Used  uint64 // addresses that are taken, by leases or by files that cannot be read
	Size  uint64 // addresses that pods can have, at most math.MaxUint64
}

// usage counts names, and never the addresses of a range.
func usage(ranges Ranges, taken map[netip.Addr]bool) []Usage {
	var all []Usage
	for _, p := range ranges {
		u := Usage{Range: p, Size: size(p)}
		for a := range taken {
			if p.Contains(a) && p.Addr() != a {
				u.Used++
			}
		}
		all = append(all, u)
	}
	return all
}
