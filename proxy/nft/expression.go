package nft

import (
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Expression is one step of a rule: it loads a value into a register, compares a
// register, or acts on the packet. The functions of this package that are named
// like nft's words make them.
type Expression interface {
	name() string // the kernel's
	encode(a *message.Attributes)
}

// Register is one of the 16 registers of four bytes that a rule works with. A
// longer value takes the registers that follow, too.
type Register uint8

func (r Register) number() uint32 { return unix.NFT_REG32_00 + uint32(r) }

// registerOf reads a register's number. The kernel names one that begins a group
// of four by the group.
func registerOf(number uint32) Register {
	if number >= unix.NFT_REG_1 && number <= unix.NFT_REG_4 {
		return Register(4 * (number - unix.NFT_REG_1))
	}
	return Register(number - unix.NFT_REG32_00) //nolint:gosec // the kernel has 16
}

// Unknown is an expression of the kernel that this package does not make.
type Unknown struct {
	Name       string
	Attributes string // as on the wire
}

func (u Unknown) name() string                 { return u.Name }
func (u Unknown) encode(a *message.Attributes) { *a = append(*a, u.Attributes...) }

// data appends a value as nf_tables nests it.
func data(a *message.Attributes, kind uint16, value Value) {
	a.Nest(kind, func(a *message.Attributes) { a.Bytes(unix.NFTA_DATA_VALUE, []byte(value)) })
}

func dataIn(f *message.Fields, kind uint16) Value {
	return Value(f.Nest(kind)[unix.NFTA_DATA_VALUE])
}

// encodeExpressions appends the list of a rule.
func encodeExpressions(a *message.Attributes, kind uint16, list []Expression) {
	a.Nest(kind, func(a *message.Attributes) {
		for _, e := range list {
			a.Nest(unix.NFTA_LIST_ELEM, func(a *message.Attributes) {
				a.Text(unix.NFTA_EXPR_NAME, e.name())
				a.Nest(unix.NFTA_EXPR_DATA, e.encode)
			})
		}
	})
}

func decodeExpressions(list []byte) []Expression {
	var all []Expression
	for _, one := range message.All(list) {
		f := message.Parse(one)
		all = append(all, decodeExpression(f.Text(unix.NFTA_EXPR_NAME), f[unix.NFTA_EXPR_DATA]))
	}
	return all
}

// decodeExpression makes the value whose encoding the kernel gave, as far as the
// value holds it: a counter has no count.
func decodeExpression(name string, attributes []byte) Expression {
	f := message.Parse(attributes)
	if decode, ok := decoderOf(name); ok {
		if e := decode(f); e != nil {
			return e
		}
	}
	return Unknown{name, string(attributes)}
}

const (
	immediate  = "immediate"
	payload    = "payload"
	meta       = "meta"
	conntrack  = "ct"
	fib        = "fib"
	rt         = "rt"
	exthdr     = "exthdr"
	numgen     = "numgen"
	comparison = "cmp"
	bitwise    = "bitwise"
	byteorder  = "byteorder"
	between    = "range"
	lookup     = "lookup"
	dynset     = "dynset"
	nat        = "nat"
	masquerade = "masq"
	reject     = "reject"
	counter    = "counter"
	objref     = "objref"
	limit      = "limit"
	logging    = "log"
)

func decoderOf(name string) (decode func(*message.Fields) Expression, known bool) {
	decode, known = map[string]func(*message.Fields) Expression{
		immediate: decodeImmediate, payload: decodePayload, meta: decodeMeta, conntrack: decodeConntrack,
		fib: decodeFib, rt: decodeRoute, exthdr: decodeOption, numgen: decodeNumgen,
		comparison: decodeComparison, bitwise: decodeBitwise, byteorder: decodeByteorder, between: decodeRange,
		lookup: decodeLookup, dynset: decodeDynset, nat: decodeNAT, masquerade: decodeMasquerade,
		reject: decodeReject, counter: decodeCounter, objref: decodeObject, limit: decodeLimit, logging: decodeLog,
	}[name]
	return decode, known
}
