package nft

import (
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Compare ends the rule if the register does not hold the value; if it does, with Not.
type Compare struct {
	From  Register
	Not   bool
	Value Value
}

func (Compare) name() string { return comparison }

func (c Compare) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_CMP_SREG, c.From.number())
	a.Uint32(unix.NFTA_CMP_OP, operator(c.Not))
	data(a, unix.NFTA_CMP_DATA, c.Value)
}

// operator is the kernel's number; that of cmp is also that of range.
func operator(not bool) uint32 {
	if not {
		return unix.NFT_CMP_NEQ
	}
	return unix.NFT_CMP_EQ
}

func decodeComparison(f *message.Fields) Expression {
	op := f.Uint32(unix.NFTA_CMP_OP)
	if op > unix.NFT_CMP_NEQ {
		return nil
	}
	return Compare{registerOf(f.Uint32(unix.NFTA_CMP_SREG)), op == unix.NFT_CMP_NEQ, dataIn(f, unix.NFTA_CMP_DATA)}
}

// Range ends the rule if the register is not between First and Last, which are
// in network order; if it is, with Not.
type Range struct {
	From        Register
	Not         bool
	First, Last Value
}

func (Range) name() string { return between }

func (r Range) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_RANGE_SREG, r.From.number())
	a.Uint32(unix.NFTA_RANGE_OP, operator(r.Not))
	data(a, unix.NFTA_RANGE_FROM_DATA, r.First)
	data(a, unix.NFTA_RANGE_TO_DATA, r.Last)
}

func decodeRange(f *message.Fields) Expression {
	return Range{
		registerOf(f.Uint32(unix.NFTA_RANGE_SREG)), f.Uint32(unix.NFTA_RANGE_OP) == unix.NFT_RANGE_NEQ,
		dataIn(f, unix.NFTA_RANGE_FROM_DATA), dataIn(f, unix.NFTA_RANGE_TO_DATA),
	}
}

// Bitwise is To = From & Mask ^ Xor.
type Bitwise struct {
	From, To  Register
	Mask, Xor Value // of one length
}

func (Bitwise) name() string { return bitwise }

func (b Bitwise) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_BITWISE_SREG, b.From.number())
	a.Uint32(unix.NFTA_BITWISE_DREG, b.To.number())
	a.Uint32(unix.NFTA_BITWISE_LEN, uint32(len(b.Mask))) //nolint:gosec // 16 at most
	data(a, unix.NFTA_BITWISE_MASK, b.Mask)
	data(a, unix.NFTA_BITWISE_XOR, b.Xor)
}

func decodeBitwise(f *message.Fields) Expression {
	if !f.Has(unix.NFTA_BITWISE_MASK) {
		return nil // a shift
	}
	return Bitwise{
		registerOf(f.Uint32(unix.NFTA_BITWISE_SREG)), registerOf(f.Uint32(unix.NFTA_BITWISE_DREG)),
		dataIn(f, unix.NFTA_BITWISE_MASK), dataIn(f, unix.NFTA_BITWISE_XOR),
	}
}

// Byteorder turns numbers of Size bytes, Length bytes in all, from the machine's
// order into that of the network.
type Byteorder struct {
	From, To     Register
	Length, Size uint32
}

func (Byteorder) name() string { return byteorder }

func (b Byteorder) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_BYTEORDER_SREG, b.From.number())
	a.Uint32(unix.NFTA_BYTEORDER_DREG, b.To.number())
	a.Uint32(unix.NFTA_BYTEORDER_OP, unix.NFT_BYTEORDER_HTON)
	a.Uint32(unix.NFTA_BYTEORDER_LEN, b.Length)
	a.Uint32(unix.NFTA_BYTEORDER_SIZE, b.Size)
}

func decodeByteorder(f *message.Fields) Expression {
	if f.Uint32(unix.NFTA_BYTEORDER_OP) != unix.NFT_BYTEORDER_HTON {
		return nil
	}
	return Byteorder{
		registerOf(f.Uint32(unix.NFTA_BYTEORDER_SREG)), registerOf(f.Uint32(unix.NFTA_BYTEORDER_DREG)),
		f.Uint32(unix.NFTA_BYTEORDER_LEN), f.Uint32(unix.NFTA_BYTEORDER_SIZE),
	}
}

// Lookup ends the rule if the set lacks the key; if it has it, with Not.
type Lookup struct {
	From Register
	Set  string
	Not  bool
	// Into is where a map's value goes.
	Into Destination
}

// Destination is where the value of a map goes.
type Destination struct {
	Kind DestinationKind
	To   Register // of ToRegister
}

// DestinationKind is the kind of place where a value goes.
type DestinationKind uint8

// The places where a value goes. Nowhere is for sets.
const (
	Nowhere DestinationKind = iota
	ToVerdict
	ToRegister
)

func (Lookup) name() string { return lookup }

func (l Lookup) encode(a *message.Attributes) {
	a.Text(unix.NFTA_LOOKUP_SET, l.Set)
	a.Uint32(unix.NFTA_LOOKUP_SREG, l.From.number())
	switch l.Into.Kind {
	case ToVerdict:
		a.Uint32(unix.NFTA_LOOKUP_DREG, unix.NFT_REG_VERDICT)
	case ToRegister:
		a.Uint32(unix.NFTA_LOOKUP_DREG, l.Into.To.number())
	case Nowhere:
	}
	if l.Not {
		a.Uint32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
	}
}

func decodeLookup(f *message.Fields) Expression {
	l := Lookup{
		From: registerOf(f.Uint32(unix.NFTA_LOOKUP_SREG)),
		Set:  f.Text(unix.NFTA_LOOKUP_SET),
		Not:  f.Uint32(unix.NFTA_LOOKUP_FLAGS)&unix.NFT_LOOKUP_F_INV != 0,
	}
	if f.Has(unix.NFTA_LOOKUP_DREG) {
		l.Into = Destination{Kind: ToVerdict}
		if n := f.Uint32(unix.NFTA_LOOKUP_DREG); n != unix.NFT_REG_VERDICT {
			l.Into = Destination{ToRegister, registerOf(n)}
		}
	}
	return l
}
