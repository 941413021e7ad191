package nft

import "golang.org/x/sys/unix"

// What a rule can look at. Each is named like nft's word.

// Saddr is the packet's source: "ip saddr", "ip6 saddr".
func Saddr(f Family) Source {
	if f == IPv6 {
		return Payload{Base: unix.NFT_PAYLOAD_NETWORK_HEADER, Offset: 8, Length: 16}
	}
	return Payload{Base: unix.NFT_PAYLOAD_NETWORK_HEADER, Offset: 12, Length: 4}
}

// Daddr is the packet's destination: "ip daddr", "ip6 daddr".
func Daddr(f Family) Source {
	if f == IPv6 {
		return Payload{Base: unix.NFT_PAYLOAD_NETWORK_HEADER, Offset: 24, Length: 16}
	}
	return Payload{Base: unix.NFT_PAYLOAD_NETWORK_HEADER, Offset: 16, Length: 4}
}

// Sport is the source port of any transport protocol: "th sport".
func Sport() Source { return transport(0, 2) }

// Dport is the destination port of any transport protocol: "th dport".
func Dport() Source { return transport(2, 2) }

// TCPFlags is "tcp flags". The rule must have matched TCP.
func TCPFlags() Source { return transport(13, 1) }

// ICMPType is "icmp type" or "icmpv6 type". The rule must have matched the protocol.
func ICMPType() Source { return transport(0, 1) }

func transport(offset, length uint32) Source {
	return Payload{Base: unix.NFT_PAYLOAD_TRANSPORT_HEADER, Offset: offset, Length: length}
}

// L4Proto is "meta l4proto".
func L4Proto() Source { return Meta{Key: unix.NFT_META_L4PROTO} }

// Protocol is "meta nfproto": IPv4 or IPv6, in a table that has both.
func Protocol() Source { return Meta{Key: unix.NFT_META_NFPROTO} }

// IIFName is "iifname".
func IIFName() Source { return Meta{Key: unix.NFT_META_IIFNAME} }

// OIFName is "oifname".
func OIFName() Source { return Meta{Key: unix.NFT_META_OIFNAME} }

// IIFType is "iiftype": a number of unix.ARPHRD_….
func IIFType() Source { return Meta{Key: unix.NFT_META_IIFTYPE} }

// PacketMark is "meta mark". It belongs to others: read it, and decide nothing by it.
func PacketMark() Source { return Meta{Key: unix.NFT_META_MARK} }

// CtState is "ct state", a mask: CtNew and others.
func CtState() Source { return Conntrack{Key: unix.NFT_CT_STATE} }

// CtStatus is "ct status", a mask of what was done to the connection: CtDNAT.
func CtStatus() Source { return Conntrack{Key: unix.NFT_CT_STATUS} }

// CtDirection is "ct direction": Proto(0) is original, Proto(1) reply.
func CtDirection() Source { return Conntrack{Key: unix.NFT_CT_DIRECTION} }

// CtOriginalSaddr is "ct original ip saddr".
func CtOriginalSaddr(f Family) Source {
	if f == IPv6 {
		return Conntrack{Key: unix.NFT_CT_SRC_IP6, Direction: Original}
	}
	return Conntrack{Key: unix.NFT_CT_SRC_IP, Direction: Original}
}

// CtOriginalDaddr is "ct original ip daddr": what the client called.
func CtOriginalDaddr(f Family) Source {
	if f == IPv6 {
		return Conntrack{Key: unix.NFT_CT_DST_IP6, Direction: Original}
	}
	return Conntrack{Key: unix.NFT_CT_DST_IP, Direction: Original}
}

// CtOriginalDport is "ct original proto-dst".
func CtOriginalDport() Source { return Conntrack{Key: unix.NFT_CT_PROTO_DST, Direction: Original} }

// FibDaddrType is "fib daddr type": Number(unix.RTN_LOCAL) and others.
func FibDaddrType() Source {
	return Fib{Result: unix.NFT_FIB_RESULT_ADDRTYPE, Flags: unix.NFTA_FIB_F_DADDR}
}

// FibSaddrType is "fib saddr type".
func FibSaddrType() Source {
	return Fib{Result: unix.NFT_FIB_RESULT_ADDRTYPE, Flags: unix.NFTA_FIB_F_SADDR}
}

// FibSaddrIIF is "fib saddr . iif oif": zero if the packet's source is not
// reached by the interface that it came from.
func FibSaddrIIF() Source {
	return Fib{Result: unix.NFT_FIB_RESULT_OIF, Flags: unix.NFTA_FIB_F_SADDR | unix.NFTA_FIB_F_IIF}
}

// Constant is a value that does not depend on the packet.
func Constant(v Value) Source { return Immediate{Value: v} }

// Random is "numgen random mod n offset m".
func Random(n, offset uint32) Source { return Numgen{Modulus: n, Offset: offset} }

// Bits of CtState and CtStatus, from linux/netfilter/nf_conntrack_common.h.
const (
	CtInvalid     uint32 = 1 << 0
	CtEstablished uint32 = 1 << 1
	CtRelated     uint32 = 1 << 2
	CtNew         uint32 = 1 << 3
	CtDNAT        uint32 = 1 << 5
)

// Bits of TCPFlags.
const (
	FIN uint8 = 1 << iota
	SYN
	RST
	PSH
	ACK
)
