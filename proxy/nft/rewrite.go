package nft

import (
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Rewrite writes a register into a packet: Length bytes at Offset from the beginning of the header
// that Base names (unix.NFT_PAYLOAD_…). It changes this packet alone: connection tracking does not
// know of it.
type Rewrite struct {
	From                 Register
	Base, Offset, Length uint32
	// Checksum is where the header has one of its own, from its beginning; zero: it has none.
	Checksum uint32
	// Pseudo says that the checksum of the transport header covers these bytes, too.
	Pseudo bool
}

const payloadPseudo = 1 // NFT_PAYLOAD_L4CSUM_PSEUDOHDR

func (Rewrite) name() string { return payload }

func (w Rewrite) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_PAYLOAD_SREG, w.From.number())
	a.Uint32(unix.NFTA_PAYLOAD_BASE, w.Base)
	a.Uint32(unix.NFTA_PAYLOAD_OFFSET, w.Offset)
	a.Uint32(unix.NFTA_PAYLOAD_LEN, w.Length)
	kind := uint32(unix.NFT_PAYLOAD_CSUM_NONE)
	if w.Checksum != 0 {
		kind = unix.NFT_PAYLOAD_CSUM_INET
	}
	a.Uint32(unix.NFTA_PAYLOAD_CSUM_TYPE, kind)
	a.Uint32(unix.NFTA_PAYLOAD_CSUM_OFFSET, w.Checksum)
	if w.Pseudo {
		a.Uint32(unix.NFTA_PAYLOAD_CSUM_FLAGS, payloadPseudo)
	}
}

func decodeRewrite(f *message.Fields) Expression {
	return Rewrite{
		From: registerOf(f.Uint32(unix.NFTA_PAYLOAD_SREG)),
		Base: f.Uint32(unix.NFTA_PAYLOAD_BASE), Offset: f.Uint32(unix.NFTA_PAYLOAD_OFFSET), Length: f.Uint32(unix.NFTA_PAYLOAD_LEN),
		Checksum: f.Uint32(unix.NFTA_PAYLOAD_CSUM_OFFSET), Pseudo: f.Uint32(unix.NFTA_PAYLOAD_CSUM_FLAGS) == payloadPseudo,
	}
}

// SetSaddr writes the packet's source from a register: "ip saddr set".
func SetSaddr(f Family, from Register) Expression {
	const ofIPv4 = 10
	source, _ := Saddr(f).(Payload)
	w := Rewrite{From: from, Base: source.Base, Offset: source.Offset, Length: source.Length, Pseudo: true}
	if f == IPv4 {
		w.Checksum = ofIPv4
	}
	return w
}

// SetUDPSport writes the source port of a datagram from a register: "udp sport set". The rule
// must have matched UDP.
func SetUDPSport(from Register) Expression {
	const ofUDP = 6
	return Rewrite{From: from, Base: unix.NFT_PAYLOAD_TRANSPORT_HEADER, Length: 2, Checksum: ofUDP}
}
