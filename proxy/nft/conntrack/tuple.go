package conntrack

import (
	"cmp"
	"net/netip"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Message types, and attributes by level.
const (
	list   = 1 // IPCTNL_MSG_CT_GET
	remove = 2 // IPCTNL_MSG_CT_DELETE

	original = 1  // CTA_TUPLE_ORIG
	reply    = 2  // CTA_TUPLE_REPLY
	identity = 12 // CTA_ID
	zone     = 18 // CTA_ZONE
	filter   = 25 // CTA_FILTER

	filterOriginal = 1 // CTA_FILTER_ORIG_FLAGS
	filterReply    = 2 // CTA_FILTER_REPLY_FLAGS

	addresses = 1 // CTA_TUPLE_IP
	protocol  = 2 // CTA_TUPLE_PROTO

	source4, destination4 = 1, 2 // CTA_IP_V4_SRC, CTA_IP_V4_DST
	source6, destination6 = 3, 4 // CTA_IP_V6_SRC, CTA_IP_V6_DST

	number          = 1 // CTA_PROTO_NUM
	sourcePort      = 2 // CTA_PROTO_SRC_PORT
	destinationPort = 3 // CTA_PROTO_DST_PORT
)

// Bits of a filter: which fields count.
const (
	hasSource = 1 << iota
	hasDestination
	hasZone
	hasProtocol
	hasSourcePort
	hasDestinationPort
)

func (t Tuple) flags() uint32 {
	var f uint32
	for _, x := range []struct {
		has bool
		bit uint32
	}{
		{t.Source.IsValid(), hasSource},
		{t.Destination.IsValid(), hasDestination},
		{t.Protocol != 0, hasProtocol},
		{t.SourcePort != 0, hasSourcePort},
		{t.DestinationPort != 0, hasDestinationPort},
	} {
		if x.has {
			f |= x.bit
		}
	}
	return f
}

func (t Tuple) encode(a *message.Attributes, kind uint16) {
	if t.flags() == 0 {
		return
	}
	a.Nest(kind, func(a *message.Attributes) {
		if t.Source.IsValid() || t.Destination.IsValid() {
			a.Nest(addresses, func(a *message.Attributes) {
				address(a, source4, source6, t.Source)
				address(a, destination4, destination6, t.Destination)
			})
		}
		if t.Protocol != 0 {
			a.Nest(protocol, func(a *message.Attributes) {
				a.Uint8(number, t.Protocol)
				if t.SourcePort != 0 {
					a.Uint16(sourcePort, t.SourcePort)
				}
				if t.DestinationPort != 0 {
					a.Uint16(destinationPort, t.DestinationPort)
				}
			})
		}
	})
}

// matches says whether an entry's tuple has what counts.
func (t Tuple) matches(is Tuple) bool {
	return (!t.Source.IsValid() || t.Source == is.Source) && (!t.Destination.IsValid() || t.Destination == is.Destination) &&
		(t.Protocol == 0 || t.Protocol == is.Protocol) &&
		(t.SourcePort == 0 || t.SourcePort == is.SourcePort) && (t.DestinationPort == 0 || t.DestinationPort == is.DestinationPort)
}

// decode reads a tuple.
func decode(f *message.Fields) Tuple {
	addresses, protocol := f.Nest(addresses), f.Nest(protocol)
	return Tuple{
		addressIn(addresses, source4, source6), addressIn(addresses, destination4, destination6),
		protocol.Uint8(number), protocol.Uint16(sourcePort), protocol.Uint16(destinationPort),
	}
}

func addressIn(f *message.Fields, four, six uint16) netip.Addr {
	for _, kind := range []uint16{four, six} {
		if a, ok := netip.AddrFromSlice(f[kind]); ok {
			return a
		}
	}
	return netip.Addr{}
}

func address(a *message.Attributes, four, six uint16, x netip.Addr) {
	switch {
	case x.Is4():
		a.Bytes(four, x.AsSlice())
	case x.Is6():
		a.Bytes(six, x.AsSlice())
	}
}

// Compare orders matches.
func (m Match) Compare(other Match) int {
	return cmp.Or(m.Original.compare(other.Original), m.Reply.compare(other.Reply))
}

func (t Tuple) compare(other Tuple) int {
	return cmp.Or(
		t.Source.Compare(other.Source), t.Destination.Compare(other.Destination), cmp.Compare(t.Protocol, other.Protocol),
		cmp.Compare(t.SourcePort, other.SourcePort), cmp.Compare(t.DestinationPort, other.DestinationPort),
	)
}
