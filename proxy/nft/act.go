package nft

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Translate rewrites the destination (or, with Source, the source) of the
// packet's connection.
type Translate struct {
	Family Family // IPv4 or IPv6
	Source bool
	Addr   Register
	Port   Destination // ToRegister if the port changes, too
}

func (Translate) name() string { return nat }

func (t Translate) encode(a *message.Attributes) {
	kind := uint32(unix.NFT_NAT_DNAT)
	if t.Source {
		kind = unix.NFT_NAT_SNAT
	}
	a.Uint32(unix.NFTA_NAT_TYPE, kind)
	a.Uint32(unix.NFTA_NAT_FAMILY, uint32(t.Family))
	a.Uint32(unix.NFTA_NAT_REG_ADDR_MIN, t.Addr.number())
	if t.Port.Kind == ToRegister {
		a.Uint32(unix.NFTA_NAT_REG_PROTO_MIN, t.Port.To.number())
	}
}

func decodeNAT(f *message.Fields) Expression {
	t := Translate{
		Family: Family(f.Uint32(unix.NFTA_NAT_FAMILY)), //nolint:gosec // the kernel has few
		Source: f.Uint32(unix.NFTA_NAT_TYPE) == unix.NFT_NAT_SNAT,
		Addr:   registerOf(f.Uint32(unix.NFTA_NAT_REG_ADDR_MIN)),
	}
	if f.Has(unix.NFTA_NAT_REG_PROTO_MIN) {
		t.Port = Destination{ToRegister, registerOf(f.Uint32(unix.NFTA_NAT_REG_PROTO_MIN))}
	}
	return t
}

// Masquerade rewrites the source to the address of the interface that the packet
// leaves by, and a port chosen at random.
type Masquerade struct{}

const fullyRandom = 1 << 4 // NF_NAT_RANGE_PROTO_RANDOM_FULLY

func (Masquerade) name() string { return masquerade }

func (Masquerade) encode(a *message.Attributes) { a.Uint32(unix.NFTA_MASQ_FLAGS, fullyRandom) }

func decodeMasquerade(f *message.Fields) Expression {
	if f.Uint32(unix.NFTA_MASQ_FLAGS) != fullyRandom || f.Has(unix.NFTA_MASQ_REG_PROTO_MIN) {
		return nil
	}
	return Masquerade{}
}

// Reject answers that nobody is there. Type is unix.NFT_REJECT_…, Code that of
// the ICMP message.
type Reject struct {
	Type uint32
	Code uint8
}

func (Reject) name() string { return reject }

func (r Reject) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_REJECT_TYPE, r.Type)
	if r.Type != unix.NFT_REJECT_TCP_RST {
		a.Uint8(unix.NFTA_REJECT_ICMP_CODE, r.Code)
	}
}

func decodeReject(f *message.Fields) Expression {
	return Reject{f.Uint32(unix.NFTA_REJECT_TYPE), f.Uint8(unix.NFTA_REJECT_ICMP_CODE)}
}

// Operation is what a rule does to a set.
type Operation uint32

// What a rule does to a set. Update also renews the timeout of an element that
// is there. Neither changes its value.
const (
	Add Operation = iota
	Update
	Delete
)

// WriteSet adds, renews or deletes an element of a dynamic set. A full set ends
// the rule. On a map, Delete needs a value, too.
type WriteSet struct {
	Operation Operation
	Set       string
	Key       Register
	Value     Destination // ToRegister on a map
	Timeout   time.Duration
}

func (WriteSet) name() string { return dynset }

func (w WriteSet) encode(a *message.Attributes) {
	a.Text(unix.NFTA_DYNSET_SET_NAME, w.Set)
	a.Uint32(unix.NFTA_DYNSET_OP, uint32(w.Operation))
	a.Uint32(unix.NFTA_DYNSET_SREG_KEY, w.Key.number())
	if w.Value.Kind == ToRegister {
		a.Uint32(unix.NFTA_DYNSET_SREG_DATA, w.Value.To.number())
	}
	if w.Timeout != 0 {
		a.Uint64(unix.NFTA_DYNSET_TIMEOUT, milliseconds(w.Timeout))
	}
}

func decodeDynset(f *message.Fields) Expression {
	if f.Has(unix.NFTA_DYNSET_EXPR) || f.Uint32(unix.NFTA_DYNSET_FLAGS) != 0 {
		return nil
	}
	w := WriteSet{
		Operation: Operation(f.Uint32(unix.NFTA_DYNSET_OP)),
		Set:       f.Text(unix.NFTA_DYNSET_SET_NAME),
		Key:       registerOf(f.Uint32(unix.NFTA_DYNSET_SREG_KEY)),
		Timeout:   duration(f.Uint64(unix.NFTA_DYNSET_TIMEOUT)),
	}
	if f.Has(unix.NFTA_DYNSET_SREG_DATA) {
		w.Value = Destination{ToRegister, registerOf(f.Uint32(unix.NFTA_DYNSET_SREG_DATA))}
	}
	return w
}

func milliseconds(d time.Duration) uint64 { return uint64(d.Milliseconds()) } //nolint:gosec // never negative

func duration(milliseconds uint64) time.Duration {
	return time.Duration(milliseconds) * time.Millisecond //nolint:gosec // years
}
