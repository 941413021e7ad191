package link

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Routes are what the node's main routing table says of the links that the node is on.
type Routes struct {
	// Routers are the addresses to which default routes lead, in order. A link-local one is
	// left out: it means something on its link only.
	Routers []netip.Addr
	// Direct is by which interface the node reaches a network without a router. If several
	// interfaces are in the network, it is that of the route that the kernel takes.
	Direct map[netip.Prefix]string
}

// ReadRoutes reads the main routing table.
func ReadRoutes() (Routes, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return Routes{}, fmt.Errorf("list routes: %w", err)
	}
	devices, err := netlink.LinkList()
	if err != nil {
		return Routes{}, fmt.Errorf("list interfaces: %w", err)
	}
	names := map[int]string{}
	for _, device := range devices {
		names[device.Attrs().Index] = device.Attrs().Name
	}
	found := Routes{Direct: map[netip.Prefix]string{}}
	best := map[netip.Prefix]int{}
	for i := range routes {
		r := &routes[i]
		to, isNetwork := networkOf(r)
		if !isNetwork {
			if a, ok := netip.AddrFromSlice(r.Gw); ok && !a.IsLinkLocalUnicast() {
				found.Routers = append(found.Routers, a.Unmap())
			}
			continue
		}
		// Of equal routes the kernel takes the first.
		if metric, known := best[to]; isDirect(r) && names[r.LinkIndex] != "" && (!known || r.Priority < metric) {
			best[to], found.Direct[to] = r.Priority, names[r.LinkIndex]
		}
	}
	slices.SortFunc(found.Routers, netip.Addr.Compare)
	found.Routers = slices.Compact(found.Routers)
	return found, nil
}

// networkOf is where a route leads; false: it is a default route.
func networkOf(r *netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, false
	}
	to := prefixOf(r.Dst)
	return to.Masked(), to.Bits() > 0
}

func isDirect(r *netlink.Route) bool {
	return len(r.Gw) == 0 && len(r.MultiPath) == 0 && r.Via == nil && r.LinkIndex > 0 && (r.Type == unix.RTN_UNICAST || r.Type == 0)
}
