//go:build linux

package ipam

import (
	"errors"
	"fmt"
	"net/netip"
)

// family is what a pod is to get of IPv4 or of IPv6.
type family struct {
	ranges    Ranges
	requested netip.Addr // zero: any
}

// families are the families that have ranges, IPv4 first.
func (w Wanted) families() ([]family, error) {
	ranges, err := w.Ranges.canonical()
	if err != nil {
		return nil, err
	}
	if len(ranges) == 0 {
		return nil, errors.New("check ranges: there are none")
	}
	requested := map[bool]netip.Addr{}
	for _, a := range w.Requested {
		a = a.Unmap()
		if !ranges.contain(a) {
			return nil, &OutsideError{Address: a, Ranges: ranges}
		}
		if other, twice := requested[a.Is4()]; twice {
			return nil, fmt.Errorf("check requested addresses: %s and %s are of one family", other, a)
		}
		requested[a.Is4()] = a
	}
	var families []family
	for _, is4 := range []bool{true, false} {
		if own := ranges.family(is4); len(own) > 0 {
			families = append(families, family{ranges: own, requested: requested[is4]})
		}
	}
	return families, nil
}
