package mesh

import (
	"net/netip"
)

// HardwareAddr is a MAC address. The zero value is none.
type HardwareAddr [6]byte

// Node is what is known of a node, this one or another.
type Node struct {
	Name string
	// Addresses are the node's InternalIPs. The first of a family counts.
	Addresses []netip.Addr
	// Ranges have the addresses of its pods.
	Ranges []netip.Prefix
	// VTEP is the MAC address of its end of the overlay, as it has published it.
	VTEP HardwareAddr
	// MTU is that of its uplink, as it has published it, in bytes; 0: not yet.
	MTU int
}

// address returns the node's address of a family.
func (n Node) address(is4 bool) (netip.Addr, bool) {
	for _, address := range n.Addresses {
		if address.Is4() == is4 {
			return address, true
		}
	}
	return netip.Addr{}, false
}

// Uplink is an interface of this node.
type Uplink struct {
	Name string
	// MTU is in bytes.
	MTU int
	// Networks are its addresses with the length of their networks' prefix.
	Networks []netip.Prefix
}

// has reports whether an address is the interface's own.
func (u Uplink) has(address netip.Addr) bool {
	for _, network := range u.Networks {
		if network.Addr() == address {
			return true
		}
	}
	return false
}

// reaches reports whether an address is on the interface's link.
func (u Uplink) reaches(address netip.Addr) bool {
	for _, network := range u.Networks {
		if network.Masked().Contains(address) {
			return true
		}
	}
	return false
}

// Mode is which ways to other nodes may be used.
type Mode string

// The modes.
const (
	Auto   Mode = "auto"   // a route where both are on one link, else VXLAN
	Direct Mode = "direct" // routes only
	VXLAN  Mode = "vxlan"  // VXLAN only
)
