package nft

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Value is the bytes of a key or of a map's value as the kernel has them.
type Value string

// Addr is an address: ipv4_addr or ipv6_addr.
func Addr(a netip.Addr) Value { return Value(a.AsSlice()) }

// Proto is the number of a transport protocol, such as unix.IPPROTO_TCP.
func Proto(number uint8) Value { return Value([]byte{number}) }

// Port is a port of any transport protocol: inet_service.
func Port(port uint16) Value { return Value(binary.BigEndian.AppendUint16(nil, port)) }

// Number is a number of four bytes in the order of the machine: mark,
// iface_index, and what numgen makes.
func Number(n uint32) Value { return Value(binary.NativeEndian.AppendUint32(nil, n)) }

// Device is the name of an interface: ifname.
func Device(name string) Value {
	b := make([]byte, IfName.size())
	copy(b, name)
	return Value(b)
}

// DevicePrefix is the beginning of interfaces' names, to compare with: "fw*".
func DevicePrefix(prefix string) Value { return Value(prefix) }

// Concat is the key of several fields.
func Concat(fields ...Value) Value {
	var b []byte
	for _, f := range fields {
		b = append(b, f...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return Value(b)
}

// Element is an element of a set or a map.
type Element struct {
	Key     Value
	End     Value         // the last key of a range, in a set with intervals; empty for one key
	Value   Value         // of a map
	Verdict Verdict       // of a verdict map
	Timeout time.Duration // in a set with timeouts: zero is the set's own
}

// Prefix is the element that holds the addresses of p; those of one field after
// the fields of before.
func Prefix(p netip.Prefix, before ...Value) Element {
	first := p.Masked().Addr().AsSlice()
	last := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	if len(before) == 0 {
		return Element{Key: Value(first), End: Value(last)}
	}
	head := Concat(before...)
	return Element{Key: head + Value(first), End: head + Value(last)}
}

// same says whether the kernel sees no difference; timeouts run, so that they do
// not count.
func (e *Element) same(other *Element) bool {
	return e.Key == other.Key && e.End == other.End && e.Value == other.Value && e.Verdict == other.Verdict
}
