package link

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PeerRoute leads a range of pods to their node.
type PeerRoute struct {
	Range netip.Prefix
	// Node is the other node's address.
	Node netip.Addr
	// Overlay is the name of the overlay's device; empty: the node is on a link of ours.
	Overlay string
	// VTEP is the MAC address of the other end of the overlay.
	VTEP net.HardwareAddr
	// MTU is the largest packet that arrives, in bytes.
	MTU int
}

// Apply makes the route, or changes it to this one. On the overlay the order is: neighbour
// entry, forwarding entry, route, so that no packet finds a route that leads nowhere.
func (p PeerRoute) Apply() error {
	route := &netlink.Route{
		Dst: network(p.Range), Protocol: Protocol, MTU: p.MTU, Family: familyOf(p.Range.Addr()),
	}
	if p.Overlay == "" {
		route.Gw = p.Node.AsSlice()
	} else {
		device, err := netlink.LinkByName(p.Overlay)
		if err != nil {
			return fmt.Errorf("route %s over the overlay: find interface %s: %w", p.Range, p.Overlay, err)
		}
		for _, entry := range p.entries(device) {
			if err := netlink.NeighSet(entry); err != nil {
				return fmt.Errorf("route %s over the overlay: note where %s is: %w", p.Range, p.VTEP, err)
			}
		}
		route.LinkIndex, route.Gw, route.Flags = device.Attrs().Index, p.gateway().AsSlice(), unix.RTNH_F_ONLINK
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route %s by %s: %w", p.Range, p.Node, err)
	}
	return nil
}

// String returns "10.244.2.0/24 by 192.0.2.2, MTU 1450, over fwoverlay to 02:…".
func (p PeerRoute) String() string {
	text := fmt.Sprintf("%s by %s, MTU %d", p.Range, p.Node, p.MTU)
	if p.Overlay != "" {
		text += fmt.Sprintf(", over %s to %s", p.Overlay, p.VTEP)
	}
	return text
}

// Remove removes the route and, if no other needs them, what it needed on the overlay. What
// is gone is no error, and a route that is another's is left alone.
func (p PeerRoute) Remove() error {
	route := &netlink.Route{Dst: network(p.Range), Protocol: Protocol, Family: familyOf(p.Range.Addr())}
	if err := netlink.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the route of %s: %w", p.Range, err)
	}
	return p.forget(PeerRoute{})
}

// Replace makes the route in place of an earlier one of the same range, in one step for
// packets, and then removes what only the earlier one needed.
func (p PeerRoute) Replace(earlier PeerRoute) error {
	if err := p.Apply(); err != nil {
		return err
	}
	return earlier.forget(p)
}

// forget removes the entries of the overlay that neither the route's successor nor another
// route needs.
func (p PeerRoute) forget(successor PeerRoute) error {
	if p.Overlay == "" {
		return nil
	}
	device, err := netlink.LinkByName(p.Overlay)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("forget the way of %s: find interface %s: %w", p.Range, p.Overlay, err)
	}
	var kept []*netlink.Neigh
	if successor.Overlay == p.Overlay {
		kept = successor.entries(device)
	}
	for _, entry := range slices.Backward(p.entries(device)) {
		if slices.ContainsFunc(kept, func(k *netlink.Neigh) bool { return sameEntry(k, entry) }) {
			continue
		}
		if shared, err := p.shares(entry); err != nil || shared {
			return err
		}
		if err := netlink.NeighDel(entry); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("forget the way of %s: forget where %s is: %w", p.Range, p.VTEP, err)
		}
	}
	return nil
}

// sameEntry reports whether two entries have one key: the MAC address on a bridge or an
// overlay, else the IP address.
func sameEntry(a, b *netlink.Neigh) bool {
	if a.Family != b.Family {
		return false
	}
	if a.Family == unix.AF_BRIDGE {
		return a.HardwareAddr.String() == b.HardwareAddr.String()
	}
	return a.IP.Equal(b.IP)
}

// shares reports whether a forwarding entry serves another range of the same node.
func (p PeerRoute) shares(entry *netlink.Neigh) (bool, error) {
	if entry.Family != unix.AF_BRIDGE {
		return false, nil
	}
	routes, err := PeerRoutes()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(routes, func(r PeerRoute) bool {
		return r.Overlay == p.Overlay && r.VTEP.String() == p.VTEP.String() && r.Range != p.Range
	}), nil
}

// gateway is the next hop on the overlay. In IPv4 it is the network address of the range. In
// IPv6 it is link-local, made of the MAC address: the kernel looks a next hop up even if it
// is on the link, and refuses one that a present route leads elsewhere.
func (p PeerRoute) gateway() netip.Addr {
	if p.Range.Addr().Is4() || len(p.VTEP) != 6 {
		return p.Range.Masked().Addr()
	}
	m := p.VTEP // modified EUI-64, RFC 4291, appendix A
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// entries are what the overlay needs: the MAC address behind the gateway of the range, and
// the node behind that MAC address. Both are permanent: nothing is learnt or asked.
func (p PeerRoute) entries(device netlink.Link) []*netlink.Neigh {
	return []*netlink.Neigh{
		neighbour(device, p.gateway(), p.VTEP),
		{
			LinkIndex: device.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
			IP: p.Node.AsSlice(), HardwareAddr: p.VTEP,
		},
	}
}

// PeerRoutes returns the routes to other nodes' pods that the kernel has and that are ours,
// in the order of their ranges.
func PeerRoutes() ([]PeerRoute, error) {
	found, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: Protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	overlays := map[int]*overlayEntries{}
	var all []PeerRoute
	for _, route := range found {
		if route.Gw == nil || route.Dst == nil {
			continue // that of a pod of this node
		}
		p := PeerRoute{Range: prefixOf(route.Dst), MTU: route.MTU}
		p.Node, _ = netip.AddrFromSlice(route.Gw)
		p.Node = p.Node.Unmap()
		if overlays[route.LinkIndex] == nil {
			if overlays[route.LinkIndex], err = entriesOf(route.LinkIndex); err != nil {
				return nil, err
			}
		}
		if on := overlays[route.LinkIndex]; on.name != "" {
			p.Overlay, p.VTEP = on.name, on.neighbours[p.Node]
			p.Node = on.nodes[p.VTEP.String()]
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b PeerRoute) int {
		return cmp.Or(a.Range.Addr().Compare(b.Range.Addr()), cmp.Compare(a.Range.Bits(), b.Range.Bits()))
	})
	return all, nil
}

// overlayEntries are the entries of one overlay device; without a name it is none.
type overlayEntries struct {
	name       string
	neighbours map[netip.Addr]net.HardwareAddr // by gateway
	nodes      map[string]netip.Addr           // by MAC address
}

func entriesOf(index int) (*overlayEntries, error) {
	e := &overlayEntries{neighbours: map[netip.Addr]net.HardwareAddr{}, nodes: map[string]netip.Addr{}}
	device, err := netlink.LinkByIndex(index)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return e, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find interface %d: %w", index, err)
	}
	if device.Type() != "vxlan" {
		return e, nil
	}
	e.name = device.Attrs().Name
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
		entries, err := netlink.NeighList(index, family)
		if err != nil {
			return nil, fmt.Errorf("list the entries of interface %s: %w", e.name, err)
		}
		for _, entry := range entries {
			address, ok := netip.AddrFromSlice(entry.IP)
			if !ok {
				continue
			}
			if family == unix.AF_BRIDGE {
				e.nodes[entry.HardwareAddr.String()] = address.Unmap()
			} else {
				e.neighbours[address.Unmap()] = entry.HardwareAddr
			}
		}
	}
	return e, nil
}

func network(of netip.Prefix) *net.IPNet {
	of = of.Masked()
	return &net.IPNet{IP: of.Addr().AsSlice(), Mask: net.CIDRMask(of.Bits(), of.Addr().BitLen())}
}

func prefixOf(network *net.IPNet) netip.Prefix {
	address, _ := netip.AddrFromSlice(network.IP)
	bits, size := network.Mask.Size()
	if size == 32 {
		address = address.Unmap()
	}
	return netip.PrefixFrom(address, bits)
}
