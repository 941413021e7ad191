package message

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// Fields are the attributes of one level by type. A type that is absent reads as
// zero. Attributes of types that the array cannot hold are left out.
type Fields [64][]byte

// Parse reads one level of attributes. It ends at the first one that is cut off:
// the kernel sends none.
func Parse(b []byte) *Fields {
	fields := new(Fields)
	for kind, value := range All(b) {
		if int(kind) < len(fields) {
			fields[kind] = value
		}
	}
	return fields
}

// All yields type and value of the attributes in b in their order.
func All(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= headerLength {
			length := int(binary.NativeEndian.Uint16(b))
			if length < headerLength || length > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&typeMask, b[headerLength:length]) {
				return
			}
			b = b[min((length+alignment-1)/alignment*alignment, len(b)):]
		}
	}
}

// Has says whether the attribute is there.
func (f *Fields) Has(kind uint16) bool { return f[kind] != nil }

// Nest parses the attributes inside an attribute.
func (f *Fields) Nest(kind uint16) *Fields { return Parse(f[kind]) }

// Text is a string without its NUL.
func (f *Fields) Text(kind uint16) string {
	text, _, _ := bytes.Cut(f[kind], []byte{0})
	return string(text)
}

// Uint8 is a number of one byte.
func (f *Fields) Uint8(kind uint16) uint8 {
	if len(f[kind]) < 1 {
		return 0
	}
	return f[kind][0]
}

// Uint16 is a number of two bytes.
func (f *Fields) Uint16(kind uint16) uint16 {
	if len(f[kind]) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(f[kind])
}

// Uint32 is a number of four bytes.
func (f *Fields) Uint32(kind uint16) uint32 {
	if len(f[kind]) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(f[kind])
}

// Uint64 is a number of eight bytes.
func (f *Fields) Uint64(kind uint16) uint64 {
	if len(f[kind]) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(f[kind])
}
