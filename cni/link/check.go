package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// Check returns what is missing or wrong of a wire that was connected, joined, or nil.
func Check(pod *Namespace, wire Wire) error {
	inside, err := pod.netlink()
	if err != nil {
		return err
	}
	defer inside.Close()
	host, err := netlink.LinkByName(wire.Host)
	if err != nil {
		return fmt.Errorf("interface %s of the host: %w", wire.Host, err)
	}
	if !wire.Owner.has(host) {
		return fmt.Errorf("interface %s of the host: %w", wire.Host, ErrNameTaken)
	}
	end, err := inside.LinkByName(wire.Owner.Interface)
	if err != nil {
		return fmt.Errorf("interface %s of the pod: %w", wire.Owner.Interface, err)
	}
	return errors.Join(wire.checkHost(host), wire.checkPod(inside, end))
}

func (w Wire) checkHost(end netlink.Link) error {
	wrong := []error{up(end)}
	routes, err := netlink.RouteList(end, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list routes of interface %s: %w", w.Host, err)
	}
	for _, address := range w.Addresses {
		if !slices.ContainsFunc(routes, func(r netlink.Route) bool { return leadsTo(r.Dst, address) }) {
			wrong = append(wrong, fmt.Errorf("no route leads %s to interface %s", address, w.Host))
		}
	}
	return errors.Join(wrong...)
}

func (w Wire) checkPod(inside *netlink.Handle, end netlink.Link) error {
	wrong := []error{up(end)}
	addresses, err := inside.AddrList(end, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of the pod: %w", err)
	}
	routes, err := inside.RouteList(end, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list routes of the pod: %w", err)
	}
	for _, address := range w.Addresses {
		if !slices.ContainsFunc(addresses, func(a netlink.Addr) bool { return leadsTo(a.IPNet, address) }) {
			wrong = append(wrong, fmt.Errorf("the pod's %s does not have %s", w.Owner.Interface, address))
		}
		byGateway := func(r netlink.Route) bool { return r.Gw.Equal(Gateway(address).AsSlice()) && isDefault(r.Dst) }
		if !slices.ContainsFunc(routes, byGateway) {
			wrong = append(wrong, fmt.Errorf("the pod has no default route by %s", Gateway(address)))
		}
	}
	return errors.Join(wrong...)
}

func up(end netlink.Link) error {
	if end.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("interface %s is down", end.Attrs().Name)
	}
	return nil
}

// leadsTo reports whether a network is that of one address.
func leadsTo(network *net.IPNet, address netip.Addr) bool {
	one := single(address)
	return network != nil && network.IP.Equal(one.IP) && bytes.Equal(network.Mask, one.Mask)
}

// isDefault reports whether a destination is everything: the library leaves it out for
// IPv4 and writes it for IPv6, or the other way round in another version.
func isDefault(network *net.IPNet) bool {
	if network == nil {
		return true
	}
	ones, _ := network.Mask.Size()
	return ones == 0 && network.IP.IsUnspecified()
}
