package nft

import (
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// VerdictKind is what happens to a packet.
type VerdictKind int32

// What can happen to a packet. The zero value is no verdict, and queue is only read.
const (
	none VerdictKind = iota
	accept
	drop
	back
	jump
	goTo
	queue
)

// Verdict ends a rule, or is the value of an element in a verdict map.
type Verdict struct {
	Kind  VerdictKind
	Chain string // of jump and goto
}

// Accept lets the packet go on to the next hook.
func Accept() Verdict { return Verdict{Kind: accept} }

// Drop loses the packet.
func Drop() Verdict { return Verdict{Kind: drop} }

// Return goes back to the chain that jumped here.
func Return() Verdict { return Verdict{Kind: back} }

// Jump goes to a chain, and comes back after it.
func Jump(chain string) Verdict { return Verdict{jump, chain} }

// Goto goes to a chain for good.
func Goto(chain string) Verdict { return Verdict{goTo, chain} }

// netfilter's own verdicts, from linux/netfilter.h.
const (
	nfDrop   = 0
	nfAccept = 1
)

// code is the kernel's number, which is netfilter's own for accept and drop.
func (v Verdict) code() int32 {
	switch v.Kind {
	case accept:
		return nfAccept
	case back:
		return unix.NFT_RETURN
	case jump:
		return unix.NFT_JUMP
	case goTo:
		return unix.NFT_GOTO
	default:
		return nfDrop
	}
}

func (v Verdict) append(a *message.Attributes, kind uint16) {
	a.Nest(kind, func(a *message.Attributes) {
		a.Nest(unix.NFTA_DATA_VERDICT, func(a *message.Attributes) {
			a.Uint32(unix.NFTA_VERDICT_CODE, uint32(v.code())) //nolint:gosec // the kernel's own conversion
			if v.Chain != "" {
				a.Text(unix.NFTA_VERDICT_CHAIN, v.Chain)
			}
		})
	})
}

func verdictIn(f *message.Fields) Verdict {
	chain := f.Text(unix.NFTA_VERDICT_CHAIN)
	switch int32(f.Uint32(unix.NFTA_VERDICT_CODE)) { //nolint:gosec // the kernel's own conversion
	case nfAccept:
		return Accept()
	case unix.NFT_RETURN:
		return Return()
	case unix.NFT_JUMP:
		return Jump(chain)
	case unix.NFT_GOTO:
		return Goto(chain)
	case unix.NFT_CONTINUE:
		return Verdict{} // as if the rule had none
	default:
		return Drop()
	}
}

func (Verdict) name() string { return immediate }

// encode makes a verdict an immediate for the verdict register, as nft does.
func (v Verdict) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
	v.append(a, unix.NFTA_IMMEDIATE_DATA)
}
