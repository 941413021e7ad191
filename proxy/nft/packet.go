package nft

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Packet is the first packet of a TCP connection on its way through the machine.
// Both addresses are of one family.
type Packet struct {
	In, Out  string // names of interfaces
	From, To netip.Addr
}

// The ports of a Packet are such that hardly a rule names them.
const (
	sourcePort      = 50111
	destinationPort = 47111
)

func (p Packet) family() Family {
	if p.From.Is6() {
		return IPv6
	}
	return IPv4
}

// meets says whether a table of the family sees the packet.
func (p Packet) meets(f Family) bool { return f == Inet || f == p.family() }

// network is the packet's IP header.
func (p Packet) network() Value {
	const length, ttl, dontFragment = 40, 63, 0x40
	if p.family() == IPv6 {
		return Value([]byte{0x60, 0, 0, 0, 0, length - 20, unix.IPPROTO_TCP, ttl}) + Addr(p.From) + Addr(p.To)
	}
	return Value([]byte{0x45, 0, 0, length, 0, 0, dontFragment, 0, ttl, unix.IPPROTO_TCP, 0, 0}) + Addr(p.From) + Addr(p.To)
}

// transport is the packet's TCP header.
func (Packet) transport() Value {
	return Port(sourcePort) + Port(destinationPort) + Value([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0})
}

// value is what a source loads from the packet. It is not known of marks, of
// routes, and of what else the machine may think of the packet.
func (p Packet) value(s Source) (v Value, known bool) {
	switch s := s.(type) {
	case Immediate:
		return s.Value, true
	case Meta:
		return p.meta(s.Key)
	case Conntrack:
		return p.conntrack(s.Key)
	case Payload:
		header := Value("")
		switch s.Base {
		case unix.NFT_PAYLOAD_NETWORK_HEADER:
			header = p.network()
		case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
			header = p.transport()
		}
		if end := uint64(s.Offset) + uint64(s.Length); end <= uint64(len(header)) {
			return header[s.Offset:end], true
		}
	}
	return "", false
}

func (p Packet) meta(key uint32) (v Value, known bool) {
	switch key {
	case unix.NFT_META_IIFNAME:
		return Device(p.In), true
	case unix.NFT_META_OIFNAME:
		return Device(p.Out), true
	case unix.NFT_META_L4PROTO:
		return Proto(unix.IPPROTO_TCP), true
	case unix.NFT_META_NFPROTO:
		return Proto(uint8(p.family())), true
	case unix.NFT_META_PROTOCOL:
		if p.family() == IPv6 {
			return Port(unix.ETH_P_IPV6), true
		}
		return Port(unix.ETH_P_IP), true
	default:
		return "", false
	}
}

func (Packet) conntrack(key uint32) (v Value, known bool) {
	switch key {
	case unix.NFT_CT_STATE:
		return Number(CtNew), true
	case unix.NFT_CT_STATUS:
		return Number(0), true // neither answered nor translated
	case unix.NFT_CT_DIRECTION:
		return Proto(0), true
	default:
		return "", false
	}
}
