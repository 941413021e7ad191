package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Overlay is this node's end of the overlay between nodes: a VXLAN device that learns
// nothing (RFC 7348).
type Overlay struct {
	Name string // begins with Prefix
	VNI  int
	Port int // UDP
	// Own is the node's address that the others send to.
	Own netip.Addr
	// MAC is that of the device, which the others know.
	MAC net.HardwareAddr
	// MTU is in bytes. A device with an IPv6 address has at least 1280; what the uplink is then
	// too small for goes in fragments, if Own is IPv4.
	MTU int
	// SoftwareChecksums makes the kernel compute the checksums of inner packets, for network
	// cards that send wrong ones. Streams then cost several times as much, because packets
	// are cut to size before the device.
	SoftwareChecksums bool
	// Gateways are the addresses by which the node itself speaks to pods of others: the
	// network address of the first range of each family.
	Gateways []netip.Addr
}

// Apply makes the device so, if it is not, and returns what of it was not. A device that
// differs in what cannot be changed is made anew; what of it only drifted is set back. It
// leaves routes and entries alone.
func (o Overlay) Apply() (changed []string, _ error) {
	device, err := netlink.LinkByName(o.Name)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
		changed = append(changed, fmt.Sprintf("interface %s was missing", o.Name))
		device, err = o.create()
	case err == nil && !o.is(device):
		if err := netlink.LinkDel(device); err != nil {
			return nil, fmt.Errorf("remove the overlay device %s, which has other settings: %w", o.Name, err)
		}
		changed = append(changed, fmt.Sprintf("interface %s had another VNI, port or address", o.Name))
		device, err = o.create()
	}
	if err != nil {
		return nil, fmt.Errorf("make the overlay device %s: %w", o.Name, err)
	}
	drifted, err := o.settle(device)
	if len(changed) == 0 { // a new device has none of it
		changed = drifted
	}
	if err != nil {
		return changed, fmt.Errorf("set the overlay device %s up: %w", o.Name, err)
	}
	return changed, nil
}

// Remove removes the device, and with it all that leads over it.
func (o Overlay) Remove() error {
	return remove(o.Name, func(device netlink.Link) bool { return device.Type() == "vxlan" })
}

// create makes the device with its MAC address: one that is given at creation counts as set,
// and udev leaves it alone.
func (o Overlay) create() (netlink.Link, error) {
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.HardwareAddr, attributes.MTU = o.Name, o.MAC, o.mtu()
	device := &netlink.Vxlan{LinkAttrs: attributes, VxlanId: o.VNI, Port: o.Port, SrcAddr: o.Own.AsSlice(), UDPCSum: true}
	if o.Own.Is6() {
		device.UDP6ZeroCSumRx = true
	}
	if err := netlink.LinkAdd(device); err != nil {
		return nil, err
	}
	return netlink.LinkByName(o.Name)
}

// leastMTU6 is the smallest MTU with which the kernel gives an interface IPv6 (RFC 8200,
// section 5).
const leastMTU6 = 1280

// mtu is the device's, which is enough for its addresses.
func (o Overlay) mtu() int {
	if slices.ContainsFunc(o.Gateways, netip.Addr.Is6) {
		return max(o.MTU, leastMTU6)
	}
	return o.MTU
}

// is reports whether a device has what cannot be changed later.
func (o Overlay) is(device netlink.Link) bool {
	vxlan, ok := device.(*netlink.Vxlan)
	return ok && vxlan.VxlanId == o.VNI && vxlan.Port == o.Port && !vxlan.Learning && vxlan.SrcAddr.Equal(o.Own.AsSlice())
}

// settle sets what may have drifted, and returns what had.
func (o Overlay) settle(device netlink.Link) (changed []string, _ error) {
	is := device.Attrs()
	if !bytes.Equal(is.HardwareAddr, o.MAC) {
		if err := netlink.LinkSetHardwareAddr(device, o.MAC); err != nil {
			return nil, fmt.Errorf("set its MAC address: %w", err)
		}
		changed = append(changed, fmt.Sprintf("the MAC address of interface %s was %s, not %s", o.Name, is.HardwareAddr, o.MAC))
	}
	if mtu := o.mtu(); is.MTU != mtu {
		if err := netlink.LinkSetMTU(device, mtu); err != nil {
			return changed, fmt.Errorf("set its MTU to %d: %w", mtu, err)
		}
		changed = append(changed, fmt.Sprintf("the MTU of interface %s was %d, not %d", o.Name, is.MTU, mtu))
	}
	if err := offloadChecksums(o.Name, !o.SoftwareChecksums); err != nil {
		return changed, err
	}
	more, err := apply(o.Name, hostSettings())
	if changed = append(changed, more...); err != nil {
		return changed, err
	}
	more, err = o.address(device)
	if changed = append(changed, more...); err != nil {
		return changed, err
	}
	if is.Flags&net.FlagUp == 0 {
		changed = append(changed, fmt.Sprintf("interface %s was down", o.Name))
		return changed, netlink.LinkSetUp(device)
	}
	return changed, nil
}

// address gives the device its addresses, and takes away what was ours once.
func (o Overlay) address(device netlink.Link) (changed []string, _ error) {
	have, err := netlink.AddrList(device, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list its addresses: %w", err)
	}
	for _, gateway := range o.Gateways {
		if slices.ContainsFunc(have, func(a netlink.Addr) bool { return leadsTo(a.IPNet, gateway) }) {
			continue
		}
		own := &netlink.Addr{IPNet: single(gateway), Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrReplace(device, own); err != nil {
			return changed, fmt.Errorf("give it %s: %w", gateway, err)
		}
		changed = append(changed, fmt.Sprintf("interface %s had no address %s", o.Name, gateway))
	}
	for _, a := range have {
		address, ok := netip.AddrFromSlice(a.IP)
		if address = address.Unmap(); ok && !address.IsLinkLocalUnicast() && !slices.Contains(o.Gateways, address) {
			if err := netlink.AddrDel(device, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return changed, fmt.Errorf("take %s away from it: %w", address, err)
			}
			changed = append(changed, fmt.Sprintf("interface %s had address %s", o.Name, address))
		}
	}
	return changed, nil
}

// offloadChecksums says whether checksums of packets that a device sends are left to the
// network card below it.
func offloadChecksums(device string, on bool) error {
	cards, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("set its checksum offload: %w", err)
	}
	defer cards.Close()
	const offload = "tx-checksum-ip-generic"
	features, err := cards.Features(device)
	if err == nil && features[offload] != on {
		err = cards.Change(device, map[string]bool{offload: on})
	}
	if err != nil {
		return fmt.Errorf("set its checksum offload: %w", err)
	}
	return nil
}
