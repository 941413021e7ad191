package nflog

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Headers say where a packet comes from and where it goes. The ports are zero if there are none.
type Headers struct {
	Source, Destination         netip.Addr
	Protocol                    uint8
	SourcePort, DestinationPort uint16
}

// parse reads the beginning of a packet.
func parse(b []byte) (Headers, bool) {
	if len(b) == 0 {
		return Headers{}, false
	}
	switch b[0] >> 4 {
	case 4:
		return parse4(b)
	case 6:
		return parse6(b)
	default:
		return Headers{}, false
	}
}

func parse4(b []byte) (Headers, bool) {
	const shortest, fragmentMask = 20, 1<<13 - 1
	length := int(b[0]&0xf) * 4
	if len(b) < shortest || length < shortest {
		return Headers{}, false
	}
	h := Headers{Protocol: b[9], Source: netip.AddrFrom4([4]byte(b[12:])), Destination: netip.AddrFrom4([4]byte(b[16:]))}
	if binary.BigEndian.Uint16(b[6:])&fragmentMask == 0 && length <= len(b) {
		h.ports(b[length:])
	}
	return h, true
}

func parse6(b []byte) (Headers, bool) {
	const fixed = 40
	if len(b) < fixed {
		return Headers{}, false
	}
	h := Headers{Protocol: b[6], Source: netip.AddrFrom16([16]byte(b[8:])), Destination: netip.AddrFrom16([16]byte(b[24:]))}
	for b = b[fixed:]; isExtension(h.Protocol); {
		const shortest = 8
		if len(b) < shortest {
			return h, true
		}
		length, later := shortest+8*int(b[1]), false
		if h.Protocol == unix.IPPROTO_FRAGMENT {
			length, later = shortest, binary.BigEndian.Uint16(b[2:])>>3 > 0
		}
		h.Protocol = b[0]
		if later || length > len(b) {
			return h, true
		}
		b = b[length:]
	}
	h.ports(b)
	return h, true
}

func isExtension(protocol uint8) bool {
	switch protocol {
	case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS, unix.IPPROTO_FRAGMENT:
		return true
	default:
		return false
	}
}

// ports reads those of a protocol that has any.
func (h *Headers) ports(b []byte) {
	switch h.Protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP:
		if len(b) >= 4 {
			h.SourcePort, h.DestinationPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		}
	}
}
