package link

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Interface is an interface of the node that is not ours.
type Interface struct {
	Name string
	// MTU is in bytes.
	MTU int
	// Networks are its addresses with the length of their networks' prefix.
	Networks []netip.Prefix
}

// Interfaces returns the interfaces of the node that are up, have an address, and are not
// ours, in the order of the kernel.
func Interfaces() ([]Interface, error) {
	devices, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var all []Interface
	for _, device := range devices {
		is := device.Attrs()
		if is.Flags&net.FlagUp == 0 || is.Flags&net.FlagLoopback != 0 || strings.HasPrefix(is.Name, Prefix) {
			continue
		}
		found := Interface{Name: is.Name, MTU: is.MTU}
		for _, a := range addresses {
			if a.LinkIndex == is.Index && a.IPNet != nil && !a.IP.IsLinkLocalUnicast() {
				found.Networks = append(found.Networks, prefixOf(a.IPNet))
			}
		}
		if len(found.Networks) > 0 {
			slices.SortFunc(found.Networks, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
			all = append(all, found)
		}
	}
	return all, nil
}
