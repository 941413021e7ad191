package nft

import (
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Fib asks the routing table. Result is unix.NFT_FIB_RESULT_…, Flags say which
// fields of the packet it looks up (unix.NFTA_FIB_F_…).
type Fib struct {
	To            Register
	Result, Flags uint32
}

func (Fib) name() string               { return fib }
func (x Fib) at(r Register) Expression { x.To = r; return x }
func (x Fib) to() Register             { return x.To }

func (x Fib) size() int {
	switch {
	case x.Flags&unix.NFTA_FIB_F_PRESENT != 0:
		return 1
	case x.Result == unix.NFT_FIB_RESULT_OIFNAME:
		return IfName.size()
	default:
		return 4
	}
}

func (x Fib) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_FIB_DREG, x.To.number())
	a.Uint32(unix.NFTA_FIB_RESULT, x.Result)
	a.Uint32(unix.NFTA_FIB_FLAGS, x.Flags)
}

func decodeFib(f *message.Fields) Expression {
	return Fib{registerOf(f.Uint32(unix.NFTA_FIB_DREG)), f.Uint32(unix.NFTA_FIB_RESULT), f.Uint32(unix.NFTA_FIB_FLAGS)}
}

// RouteMSS is the largest TCP segment that the packet's route takes, in both
// directions: two bytes in the machine's order.
type RouteMSS struct{ To Register }

const routeTCPMSS = 3 // NFT_RT_TCPMSS

func (RouteMSS) name() string               { return rt }
func (x RouteMSS) at(r Register) Expression { x.To = r; return x }
func (x RouteMSS) to() Register             { return x.To }
func (RouteMSS) size() int                  { return 2 }

func (x RouteMSS) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_RT_DREG, x.To.number())
	a.Uint32(unix.NFTA_RT_KEY, routeTCPMSS)
}

func decodeRoute(f *message.Fields) Expression {
	if f.Uint32(unix.NFTA_RT_KEY) != routeTCPMSS {
		return nil
	}
	return RouteMSS{registerOf(f.Uint32(unix.NFTA_RT_DREG))}
}

// SetOption writes a register into an option of the TCP header: Length bytes at
// Offset in the option of that Type.
type SetOption struct {
	From           Register
	Type           uint8
	Offset, Length uint32
}

const exthdrTCP = 1 // NFT_EXTHDR_OP_TCPOPT

func (SetOption) name() string { return exthdr }

func (x SetOption) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_EXTHDR_SREG, x.From.number())
	a.Uint8(unix.NFTA_EXTHDR_TYPE, x.Type)
	a.Uint32(unix.NFTA_EXTHDR_OFFSET, x.Offset)
	a.Uint32(unix.NFTA_EXTHDR_LEN, x.Length)
	a.Uint32(unix.NFTA_EXTHDR_OP, exthdrTCP)
}

func decodeOption(f *message.Fields) Expression {
	if !f.Has(unix.NFTA_EXTHDR_SREG) || f.Uint32(unix.NFTA_EXTHDR_OP) != exthdrTCP {
		return nil
	}
	return SetOption{
		registerOf(f.Uint32(unix.NFTA_EXTHDR_SREG)), f.Uint8(unix.NFTA_EXTHDR_TYPE),
		f.Uint32(unix.NFTA_EXTHDR_OFFSET), f.Uint32(unix.NFTA_EXTHDR_LEN),
	}
}

// Numgen makes a number for each packet: at random from Offset up to, and
// without, Offset+Modulus.
type Numgen struct {
	To              Register
	Modulus, Offset uint32
}

func (Numgen) name() string               { return numgen }
func (n Numgen) at(r Register) Expression { n.To = r; return n }
func (n Numgen) to() Register             { return n.To }
func (Numgen) size() int                  { return 4 }

func (n Numgen) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_NG_DREG, n.To.number())
	a.Uint32(unix.NFTA_NG_MODULUS, n.Modulus)
	a.Uint32(unix.NFTA_NG_TYPE, unix.NFT_NG_RANDOM)
	a.Uint32(unix.NFTA_NG_OFFSET, n.Offset)
}

func decodeNumgen(f *message.Fields) Expression {
	if f.Uint32(unix.NFTA_NG_TYPE) != unix.NFT_NG_RANDOM {
		return nil
	}
	return Numgen{registerOf(f.Uint32(unix.NFTA_NG_DREG)), f.Uint32(unix.NFTA_NG_MODULUS), f.Uint32(unix.NFTA_NG_OFFSET)}
}
