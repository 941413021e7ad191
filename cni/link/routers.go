package link

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// Routers returns the addresses to which the node's default routes lead, in order. A link-local
// one is left out: it means something on its link only.
func Routers() ([]netip.Addr, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var all []netip.Addr
	for i := range routes {
		if to := routes[i].Dst; to != nil {
			if ones, _ := to.Mask.Size(); ones > 0 {
				continue
			}
		}
		if a, ok := netip.AddrFromSlice(routes[i].Gw); ok && !a.IsLinkLocalUnicast() {
			all = append(all, a.Unmap())
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}
