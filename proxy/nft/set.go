package nft

import "time"

// Field is a data type with the number that nft has for it.
type Field uint32

// The types that keys and values are made of.
const (
	Verdicts    Field = 1 // the value type of a verdict map
	NFProto     Field = 2
	IPv4Addr    Field = 7
	IPv6Addr    Field = 8
	EtherAddr   Field = 9
	InetProto   Field = 12
	InetService Field = 13
	Mark        Field = 19
	IfIndex     Field = 20
	IfName      Field = 41
)

// Address is the type of an address of the family.
func (f Family) Address() Field {
	if f == IPv6 {
		return IPv6Addr
	}
	return IPv4Addr
}

// size is the length of a value in bytes; zero if the type is unknown.
func (f Field) size() int {
	switch f {
	case NFProto, InetProto:
		return 1
	case InetService:
		return 2
	case IPv4Addr, Mark, IfIndex:
		return 4
	case EtherAddr:
		return 6
	case IPv6Addr, IfName:
		return 16
	default:
		return 0
	}
}

// Type is one field, or the concatenation of several, as in
// "ipv4_addr . inet_service".
type Type []Field

// number is the type as nft numbers it: six bits a field.
func (t Type) number() uint32 {
	var n uint32
	for _, f := range t {
		n = n<<6 | uint32(f)
	}
	return n
}

func typeOf(number uint32) Type {
	const verdict = 0xffffff00 // what the kernel calls the type of verdicts
	if number == verdict {
		return Type{Verdicts}
	}
	var t Type
	for shift := 24; shift >= 0; shift -= 6 {
		if f := Field(number >> shift & 0x3f); f != 0 {
			t = append(t, f)
		}
	}
	return t
}

// size is the length of a value in bytes. Each field of a concatenation begins
// at a register, which has four.
func (t Type) size() int {
	if len(t) == 1 {
		return t[0].size()
	}
	n := 0
	for _, f := range t {
		n += padded(f.size())
	}
	return n
}

func (t Type) verdict() bool { return len(t) == 1 && t[0] == Verdicts }

func padded(n int) int { return (n + 3) / 4 * 4 }

// Set is a set, or a map if it has a value type.
type Set struct {
	Name    string
	Comment string
	Key     Type
	Value   Type // of a map; Type{Verdicts} of a verdict map
	// Interval lets an element be a range. The last field may range, the others are
	// single. Ranges of several keys may overlap. A map has no intervals.
	Interval bool
	// Dynamic lets rules write elements. Those are the kernel's; no Part has any.
	Dynamic bool
	// Timed lets elements have a timeout. One that has run out is not put back.
	Timed   bool
	Timeout time.Duration // of elements that say nothing else; zero is for ever
	Size    uint32        // the most elements; zero is without limit
}

func (s Set) equal(other Set) bool {
	return s.Name == other.Name && s.Comment == other.Comment && s.Interval == other.Interval &&
		s.Dynamic == other.Dynamic && s.Timed == other.Timed && s.Timeout == other.Timeout && s.Size == other.Size &&
		s.Key.number() == other.Key.number() && s.Value.number() == other.Value.number()
}

// Chain is a list of rules. A chain with a Hook sees packets by itself; others
// are named by verdicts.
type Chain struct {
	Name    string
	Comment string
	Hook    *Hook
	Rules   []Rule
}

// Hook says which packets a base chain sees, and when.
type Hook struct {
	Type     ChainType
	Point    HookPoint
	Priority int32 // lower is earlier
	Drop     bool  // the policy is drop, not accept
}

// ChainType is the kind of a base chain.
type ChainType string

// The kinds of base chains.
const (
	Filter ChainType = "filter"
	NAT    ChainType = "nat"
	Route  ChainType = "route"
)

// HookPoint is a place in a packet's way through the kernel.
type HookPoint uint32

// The places in a packet's way.
const (
	Prerouting HookPoint = iota
	Input
	Forward
	Output
	Postrouting
)

// Rule is a list of expressions that a packet passes until one does not match or
// gives a verdict. Do makes the list.
type Rule struct {
	Comment string // for people: 127 bytes at most
	Do      []Expression
}
