// Package message speaks netlink's framing with the kernel's netfilter: attributes,
// messages, batches and dumps.
//
// It knows nothing of tables or connections; packages nft and conntrack give the
// attributes their meaning. It differs from a plain netlink library in three ways
// that batches need: an error says which message of the batch was refused, only
// the last message asks for an acknowledgement, and the socket's buffer grows to
// the batch.
package message

import (
	"encoding/binary"
	"math"
)

const (
	alignment    = 4
	headerLength = 4
	nested       = 1 << 15
	typeMask     = 1<<14 - 1

	// MaxAttribute is the largest value of one attribute in bytes: its length
	// field has 16 bits and counts its header too.
	MaxAttribute = math.MaxUint16 - headerLength
)

// Attributes is a list of netlink attributes in their wire format. Numbers are
// big endian, as nfnetlink has them.
type Attributes []byte

// Bytes appends an attribute with a value as it is.
func (a *Attributes) Bytes(kind uint16, value []byte) {
	*a = binary.NativeEndian.AppendUint16(*a, uint16(headerLength+len(value))) //nolint:gosec // callers keep to MaxAttribute
	*a = binary.NativeEndian.AppendUint16(*a, kind)
	*a = append(*a, value...)
	a.pad()
}

// Text appends an attribute that holds a string, with the NUL that the kernel wants.
func (a *Attributes) Text(kind uint16, value string) {
	a.Bytes(kind, append([]byte(value), 0))
}

// Uint8 appends an attribute of one byte.
func (a *Attributes) Uint8(kind uint16, value uint8) { a.Bytes(kind, []byte{value}) }

// Uint16 appends an attribute of two bytes.
func (a *Attributes) Uint16(kind uint16, value uint16) {
	a.Bytes(kind, binary.BigEndian.AppendUint16(nil, value))
}

// Uint32 appends an attribute of four bytes.
func (a *Attributes) Uint32(kind uint16, value uint32) {
	a.Bytes(kind, binary.BigEndian.AppendUint32(nil, value))
}

// Uint64 appends an attribute of eight bytes.
func (a *Attributes) Uint64(kind uint16, value uint64) {
	a.Bytes(kind, binary.BigEndian.AppendUint64(nil, value))
}

// Nest appends an attribute whose value is the attributes that fill appends.
func (a *Attributes) Nest(kind uint16, fill func(*Attributes)) {
	start := len(*a)
	a.Bytes(kind|nested, nil)
	fill(a)
	binary.NativeEndian.PutUint16((*a)[start:], uint16(len(*a)-start)) //nolint:gosec // callers keep to MaxAttribute
}

func (a *Attributes) pad() {
	for len(*a)%alignment != 0 {
		*a = append(*a, 0)
	}
}
