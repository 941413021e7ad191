package announce

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Lengths in bytes.
const (
	ethernet = 14
	arpBody  = 28
	ipv6Head = 40
)

const (
	arpRequest = 1
	arpReply   = 2
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// question is what a neighbour asks, or what somebody says of himself.
type heard struct {
	address netip.Addr       // that it is about
	claims  bool             // the sender says that it has the address; else it asks who has it
	mac     net.HardwareAddr // of the sender
	sender  netip.Addr       // unspecified, if the sender probes
	to      net.HardwareAddr
}

// read reads a frame. It returns false for what is neither ARP nor neighbour discovery, or not
// as it should be.
func read(frame []byte) (heard, bool) {
	if len(frame) < ethernet {
		return heard{}, false
	}
	h := heard{to: net.HardwareAddr(frame[:6])}
	body := frame[ethernet:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		return h, h.readARP(body)
	case unix.ETH_P_IPV6:
		h.mac = net.HardwareAddr(frame[6:12])
		return h, h.readNDP(body)
	}
	return heard{}, false
}

func (h *heard) readARP(body []byte) bool {
	want := []byte{0, 1, 8, 0, 6, 4} // Ethernet and IPv4
	if len(body) < arpBody || !bytes.Equal(body[:6], want) {
		return false
	}
	operation := binary.BigEndian.Uint16(body[6:])
	sender, target := netip.AddrFrom4([4]byte(body[14:18])), netip.AddrFrom4([4]byte(body[24:28]))
	h.mac, h.sender = net.HardwareAddr(body[8:14]), sender
	switch {
	case operation != arpRequest && operation != arpReply:
		return false
	case operation == arpReply || sender == target:
		h.claims, h.address = true, sender
	default:
		h.address = target
	}
	return true
}

func (h *heard) readNDP(body []byte) bool {
	const hopLimit = 255 // others come from another link
	if len(body) < ipv6Head || body[6] != unix.IPPROTO_ICMPV6 || body[7] != hopLimit {
		return false
	}
	length := int(binary.BigEndian.Uint16(body[4:]))
	if len(body) < ipv6Head+length {
		return false
	}
	h.sender = netip.AddrFrom16([16]byte(body[8:24]))
	message, err := ndp.ParseMessage(body[ipv6Head : ipv6Head+length])
	if err != nil {
		return false
	}
	switch m := message.(type) {
	case *ndp.NeighborSolicitation:
		h.address = m.TargetAddress
	case *ndp.NeighborAdvertisement:
		h.address, h.claims = m.TargetAddress, true
	default:
		return false
	}
	return true
}

// answer says to who asked that this MAC has the address.
func (h heard) answer(own net.HardwareAddr) []byte {
	if h.address.Is4() {
		return arp(arpReply, own, h.mac, h.address, h.sender, h.mac)
	}
	if h.sender.IsUnspecified() { // a probe: all are to hear it
		return advertisement(own, h.address)
	}
	return neighbourMessage(own, h.mac, h.address, h.sender, &ndp.NeighborAdvertisement{
		Router: true, Solicited: true, Override: true, TargetAddress: h.address, Options: linkAddress(ndp.Target, own),
	})
}

// announcements say to all that this MAC has an address. Some devices take only requests,
// others only replies.
func announcements(own net.HardwareAddr, a netip.Addr) [][]byte {
	if a.Is4() {
		return [][]byte{arp(arpRequest, own, make(net.HardwareAddr, 6), a, a, broadcast), arp(arpReply, own, broadcast, a, a, broadcast)}
	}
	return [][]byte{advertisement(own, a)}
}

// probe asks who has an address, and claims none.
func probe(own net.HardwareAddr, a netip.Addr) []byte {
	if a.Is4() {
		return arp(arpRequest, own, make(net.HardwareAddr, 6), netip.IPv4Unspecified(), a, broadcast)
	}
	group, _ := ndp.SolicitedNodeMulticast(a) // of an IPv6 address there is one
	return neighbourMessage(own, multicast(group), netip.IPv6Unspecified(), group, &ndp.NeighborSolicitation{TargetAddress: a})
}

func arp(operation uint16, own, target net.HardwareAddr, sender, about netip.Addr, to net.HardwareAddr) []byte {
	frame := header(own, to, unix.ETH_P_ARP)
	frame = append(frame, 0, 1, 8, 0, 6, 4)
	frame = binary.BigEndian.AppendUint16(frame, operation)
	frame = append(frame, own...)
	frame = append(frame, sender.AsSlice()...)
	frame = append(frame, target...)
	return append(frame, about.AsSlice()...)
}

// advertisement is one that nobody asked for, to all nodes.
func advertisement(own net.HardwareAddr, a netip.Addr) []byte {
	all := netip.IPv6LinkLocalAllNodes()
	return neighbourMessage(own, multicast(all), a, all, &ndp.NeighborAdvertisement{
		Router: true, Override: true, TargetAddress: a, Options: linkAddress(ndp.Target, own),
	})
}

func linkAddress(direction ndp.Direction, own net.HardwareAddr) []ndp.Option {
	return []ndp.Option{&ndp.LinkLayerAddress{Direction: direction, Addr: own}}
}

func neighbourMessage(own, to net.HardwareAddr, from, about netip.Addr, m ndp.Message) []byte {
	body, err := ndp.MarshalMessageChecksum(m, from, about)
	if err != nil {
		return nil // all that is encoded here can be
	}
	frame := header(own, to, unix.ETH_P_IPV6)
	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(body))) //nolint:gosec // a message of some dozen bytes
	frame = append(frame, unix.IPPROTO_ICMPV6, 255)
	frame = append(frame, from.AsSlice()...)
	frame = append(frame, about.AsSlice()...)
	return append(frame, body...)
}

func header(from, to net.HardwareAddr, kind uint16) []byte {
	frame := append(make([]byte, 0, 128), to...)
	frame = append(frame, from...)
	return binary.BigEndian.AppendUint16(frame, kind)
}

// multicast is the MAC of an IPv6 group.
func multicast(group netip.Addr) net.HardwareAddr {
	raw := group.As16()
	return net.HardwareAddr{0x33, 0x33, raw[12], raw[13], raw[14], raw[15]}
}

// neighbourDiscovery lets neighbour solicitations and advertisements through.
func neighbourDiscovery() ([]bpf.RawInstruction, error) {
	const solicitation, advertisement, most = 135, 136, 1500
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: ethernet + 6, Size: 1}, // the next header
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: ethernet + ipv6Head, Size: 1}, // its type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: solicitation, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: advertisement, SkipTrue: 1},
		bpf.RetConstant{Val: most},
		bpf.RetConstant{Val: 0},
	})
}
