package nft

import (
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// What a rule can say. Unless it says otherwise, a statement loads what it needs
// from the first register on, so that statements do not depend on one another.

// Sequence is several expressions that read as one.
type Sequence []Expression

func (Sequence) name() string               { return "" }
func (Sequence) encode(*message.Attributes) {}

// Do is the list of a rule.
func Do(steps ...Expression) []Expression {
	var all []Expression
	for _, s := range steps {
		if sequence, ok := s.(Sequence); ok {
			all = append(all, Do(sequence...)...)
		} else {
			all = append(all, s)
		}
	}
	return all
}

// Load loads sources one after the other from register r on: the key of a
// concatenation.
func Load(r Register, sources ...Source) Sequence {
	var s Sequence
	for _, source := range sources {
		s = append(s, source.at(r))
		r += Words(source)
	}
	return s
}

// MapTo loads what the map has for the key into a register: "ip saddr map @names". A packet whose
// key the map lacks goes on to the next rule.
func MapTo(values string, to Register, key ...Source) Sequence {
	return append(Load(0, key...), Lookup{Set: values, Into: Destination{ToRegister, to}})
}

// Words is the number of registers that sources take.
func Words(sources ...Source) Register {
	n := 0
	for _, s := range sources {
		n += padded(s.size()) / 4
	}
	return Register(n) //nolint:gosec // 16 at most in a rule that the kernel takes
}

// Is matches what has the value: "ip daddr 10.0.0.1".
func Is(s Source, v Value) Sequence { return Sequence{s.at(0), Compare{Value: v}} }

// IsNot matches what has another value.
func IsNot(s Source, v Value) Sequence { return Sequence{s.at(0), Compare{Not: true, Value: v}} }

// IsBetween matches a range with both ends: "th dport 8080-8081".
func IsBetween(s Source, first, last Value) Sequence {
	return Sequence{s.at(0), Range{First: first, Last: last}}
}

// IsMasked matches what has the value under a mask: "tcp flags & (syn | ack) == syn".
func IsMasked(s Source, mask, v Value) Sequence { return masked(s, mask, Compare{Value: v}) }

// HasAny matches what has at least one of the bits: "ct state established,related".
func HasAny(s Source, bits uint32) Sequence {
	return masked(s, Number(bits), Compare{Not: true, Value: Number(0)})
}

// HasNone matches what has none of the bits.
func HasNone(s Source, bits uint32) Sequence {
	return masked(s, Number(bits), Compare{Value: Number(0)})
}

// Within matches addresses of the prefix.
func Within(s Source, p netip.Prefix) Sequence {
	return masked(s, maskOf(p), Compare{Value: Addr(p.Masked().Addr())})
}

// Outside matches addresses that are not of the prefix.
func Outside(s Source, p netip.Prefix) Sequence {
	return masked(s, maskOf(p), Compare{Not: true, Value: Addr(p.Masked().Addr())})
}

func masked(s Source, mask Value, c Compare) Sequence {
	zero := Value(strings.Repeat("\x00", len(mask)))
	return Sequence{s.at(0), Bitwise{Mask: mask, Xor: zero}, c}
}

func maskOf(p netip.Prefix) Value {
	return Value(net.CIDRMask(p.Bits(), p.Addr().BitLen()))
}

// In matches what is in the set: "ip saddr . ip daddr @set".
func In(set string, key ...Source) Sequence {
	return append(Load(0, key...), Lookup{Set: set})
}

// NotIn matches what is not in the set.
func NotIn(set string, key ...Source) Sequence {
	return append(Load(0, key...), Lookup{Set: set, Not: true})
}

// VMap gives the verdict that the map has for the key: "ip daddr vmap @verdicts". A
// packet whose key the map lacks goes on to the next rule.
func VMap(verdicts string, key ...Source) Sequence {
	return append(Load(0, key...), Lookup{Set: verdicts, Into: Destination{Kind: ToVerdict}})
}

// VMapOf gives the verdict that a map has for what another map, ways, has for the key. The kernel
// looks at each element of a map with verdicts when one of them changes, so a large map that
// changes has none.
//
// nft has no words for this, and aborts when it lists a map whose value is looked up again. So a
// value begins with a port, which is read over, and what follows is read before as a
// placeholder: nft lists "meta mark vmap @verdicts".
func VMapOf(verdicts, ways string, key ...Source) Sequence {
	port := Words(key...)
	way := port + 1
	s := Load(way, PacketMark())
	s = append(s, Load(0, key...)...)
	s = append(s, Lookup{Set: ways, Into: Destination{ToRegister, port}})
	s = append(s, Load(port, Dport())...)
	return append(s, Lookup{From: way, Set: verdicts, Into: Destination{Kind: ToVerdict}})
}

// DNATMap rewrites the destination to the address and port that the map has:
// "dnat ip to KEY map @endpoints".
func DNATMap(f Family, endpoints string, key ...Source) Sequence {
	addr := Words(key...)
	return append(Load(0, key...),
		Lookup{Set: endpoints, Into: Destination{ToRegister, addr}},
		DNAT(f, addr, addr+Words(Daddr(f))))
}

// DNAT rewrites the destination to the address and port in registers.
func DNAT(f Family, addr, port Register) Expression {
	return Translate{Family: f, Addr: addr, Port: Destination{ToRegister, port}}
}

// SNAT rewrites the source to an address.
func SNAT(f Family, addr Value) Sequence {
	return Sequence{Immediate{Value: addr}, Translate{Family: f, Source: true}}
}

// RejectTCP answers a TCP packet with a reset. The rule must have matched TCP.
func RejectTCP() Expression { return Reject{Type: unix.NFT_REJECT_TCP_RST} }

// RejectPort answers with ICMP's "port unreachable" of the family.
func RejectPort(f Family) Expression {
	const icmpPort, icmpv6Port, icmpxPort = 3, 4, 1
	switch f {
	case IPv4:
		return Reject{unix.NFT_REJECT_ICMP_UNREACH, icmpPort}
	case IPv6:
		return Reject{unix.NFT_REJECT_ICMP_UNREACH, icmpv6Port}
	default:
		return Reject{unix.NFT_REJECT_ICMPX_UNREACH, icmpxPort}
	}
}

// ClampMSS lowers what a TCP SYN says of segments to what the route takes:
// "tcp option maxseg size set rt mtu". The rule must have matched TCP.
func ClampMSS() Sequence {
	const maxseg, offset, length = 2, 2, 2
	return Sequence{
		RouteMSS{},
		Byteorder{Length: length, Size: length},
		SetOption{Type: maxseg, Offset: offset, Length: length},
	}
}
