package nodes

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// sniff opens a link of this namespace.
func sniff(device string) (*packet.Conn, error) {
	found, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	return packet.Listen(found, packet.Raw, unix.ETH_P_ALL, nil)
}

// claimOf reads who says in a frame that he has which address.
func claimOf(frame []byte) (a netip.Addr, mac string, ok bool) {
	const ethernet, arp, ipv6 = 14, 28, 40
	if len(frame) < ethernet+arp {
		return netip.Addr{}, "", false
	}
	body := frame[ethernet:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		sender := netip.AddrFrom4([4]byte(body[14:18]))
		reply := binary.BigEndian.Uint16(body[6:]) == 2
		gratuitous := sender == netip.AddrFrom4([4]byte(body[24:28]))
		return sender, net.HardwareAddr(body[8:14]).String(), (reply || gratuitous) && !sender.IsUnspecified()
	case unix.ETH_P_IPV6:
		if len(body) < ipv6 || body[6] != unix.IPPROTO_ICMPV6 {
			return netip.Addr{}, "", false
		}
		message, err := ndp.ParseMessage(body[ipv6:])
		if said, is := message.(*ndp.NeighborAdvertisement); err == nil && is {
			return said.TargetAddress, net.HardwareAddr(frame[6:12]).String(), true
		}
	}
	return netip.Addr{}, "", false
}
