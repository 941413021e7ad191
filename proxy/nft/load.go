package nft

import (
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Source is an expression that loads a value into a register.
type Source interface {
	Expression
	// at is the same source for another register.
	at(r Register) Expression
	// to is the register.
	to() Register
	// size is the length of the value in bytes.
	size() int
}

// Immediate is a constant. It matches always.
type Immediate struct {
	To    Register
	Value Value
}

func (Immediate) name() string               { return immediate }
func (i Immediate) at(r Register) Expression { i.To = r; return i }
func (i Immediate) to() Register             { return i.To }
func (i Immediate) size() int                { return len(i.Value) }

func (i Immediate) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_IMMEDIATE_DREG, i.To.number())
	data(a, unix.NFTA_IMMEDIATE_DATA, i.Value)
}

func decodeImmediate(f *message.Fields) Expression {
	content := f.Nest(unix.NFTA_IMMEDIATE_DATA)
	if content.Has(unix.NFTA_DATA_VERDICT) {
		return verdictIn(content.Nest(unix.NFTA_DATA_VERDICT))
	}
	return Immediate{registerOf(f.Uint32(unix.NFTA_IMMEDIATE_DREG)), Value(content[unix.NFTA_DATA_VALUE])}
}

// Payload is a part of the packet: Length bytes at Offset from the beginning of
// the header that Base names (unix.NFT_PAYLOAD_…).
type Payload struct {
	To                   Register
	Base, Offset, Length uint32
}

func (Payload) name() string               { return payload }
func (p Payload) at(r Register) Expression { p.To = r; return p }
func (p Payload) to() Register             { return p.To }
func (p Payload) size() int                { return int(p.Length) }

func (p Payload) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_PAYLOAD_DREG, p.To.number())
	a.Uint32(unix.NFTA_PAYLOAD_BASE, p.Base)
	a.Uint32(unix.NFTA_PAYLOAD_OFFSET, p.Offset)
	a.Uint32(unix.NFTA_PAYLOAD_LEN, p.Length)
}

func decodePayload(f *message.Fields) Expression {
	if !f.Has(unix.NFTA_PAYLOAD_DREG) {
		return decodeRewrite(f)
	}
	return Payload{
		registerOf(f.Uint32(unix.NFTA_PAYLOAD_DREG)),
		f.Uint32(unix.NFTA_PAYLOAD_BASE), f.Uint32(unix.NFTA_PAYLOAD_OFFSET), f.Uint32(unix.NFTA_PAYLOAD_LEN),
	}
}

// Meta is something that the kernel knows of a packet: unix.NFT_META_….
type Meta struct {
	To  Register
	Key uint32
}

func (Meta) name() string               { return meta }
func (m Meta) at(r Register) Expression { m.To = r; return m }
func (m Meta) to() Register             { return m.To }

func (m Meta) size() int {
	switch m.Key {
	case unix.NFT_META_L4PROTO, unix.NFT_META_NFPROTO:
		return 1
	case unix.NFT_META_IIFTYPE, unix.NFT_META_OIFTYPE, unix.NFT_META_PROTOCOL:
		return 2
	case unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME:
		return IfName.size()
	default:
		return 4
	}
}

func (m Meta) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_META_DREG, m.To.number())
	a.Uint32(unix.NFTA_META_KEY, m.Key)
}

func decodeMeta(f *message.Fields) Expression {
	if !f.Has(unix.NFTA_META_DREG) {
		return nil // it writes
	}
	return Meta{registerOf(f.Uint32(unix.NFTA_META_DREG)), f.Uint32(unix.NFTA_META_KEY)}
}

// Conntrack is something of the packet's connection: unix.NFT_CT_….
type Conntrack struct {
	To  Register
	Key uint32
	// Direction is of keys that differ by it. The kernel refuses it for others.
	Direction Direction
}

// Direction is a side of a connection.
type Direction uint8

// The sides of a connection.
const (
	NoDirection Direction = iota
	Original
	Reply
)

func (Conntrack) name() string               { return conntrack }
func (c Conntrack) at(r Register) Expression { c.To = r; return c }
func (c Conntrack) to() Register             { return c.To }

func (c Conntrack) size() int {
	switch c.Key {
	case unix.NFT_CT_DIRECTION, unix.NFT_CT_PROTOCOL, unix.NFT_CT_L3PROTOCOL:
		return 1
	case unix.NFT_CT_PROTO_DST, unix.NFT_CT_PROTO_SRC:
		return 2
	case unix.NFT_CT_SRC_IP6, unix.NFT_CT_DST_IP6:
		return IPv6Addr.size()
	default:
		return 4
	}
}

func (c Conntrack) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_CT_DREG, c.To.number())
	a.Uint32(unix.NFTA_CT_KEY, c.Key)
	if c.Direction != NoDirection {
		a.Uint8(unix.NFTA_CT_DIRECTION, uint8(c.Direction-Original))
	}
}

func decodeConntrack(f *message.Fields) Expression {
	if !f.Has(unix.NFTA_CT_DREG) {
		return nil // it writes
	}
	c := Conntrack{To: registerOf(f.Uint32(unix.NFTA_CT_DREG)), Key: f.Uint32(unix.NFTA_CT_KEY)}
	if f.Has(unix.NFTA_CT_DIRECTION) {
		c.Direction = Original + Direction(f.Uint8(unix.NFTA_CT_DIRECTION))
	}
	return c
}
