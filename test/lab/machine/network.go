package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// connect gives the existing links their addresses.
func (s *Spec) connect() error {
	for path, value := range s.Sysctls {
		err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a missing kernel module
			return fmt.Errorf("set %s: %w", path, err)
		}
	}
	if err := up("lo"); err != nil {
		return err
	}
	for _, link := range s.Links {
		if err := link.configure(); err != nil {
			return fmt.Errorf("configure %s: %w", link.Name, err)
		}
	}
	for _, route := range s.Routes {
		r := netlink.Route{Dst: ipNet(route.To), Gw: route.Via.AsSlice()}
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("route %s via %s: %w", route.To, route.Via, err)
		}
	}
	return nil
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

func (l Link) configure() error {
	link, err := netlink.LinkByName(l.Name)
	if err != nil {
		return err
	}
	for _, address := range l.Addresses {
		a := &netlink.Addr{IPNet: ipNet(address)}
		if address.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // usable at once
		}
		if err := netlink.AddrReplace(link, a); err != nil {
			return fmt.Errorf("add address %s: %w", address, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// ipNet keeps the host part, which an address has but a route does not.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
