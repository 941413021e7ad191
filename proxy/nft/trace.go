package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// fate is what chains do with a packet.
type fate uint8

const (
	onward  fate = iota // to the next rule
	ended               // the chain, or what jumped to it
	passes              // the base chain
	lost                // dropped or rejected
	unknown             // a program in user space decides
)

// ruleset is what a trace reads of a table.
type ruleset interface {
	// rules returns a chain's, and whether those are all.
	rules(chain string) (list []Rule, whole bool)
	// keyLength is the number of bytes of a set's keys; zero if there is no such set.
	keyLength(set string) int
	// element returns what a set has for a key.
	element(set string, key Value) (Element, bool)
}

// trace follows a packet through the chains of a table. Where a rule depends on
// what is not known of the packet, it takes it that the rule does not match.
type trace struct {
	packet Packet
	rules  ruleset
	// doubt says that a rule that was passed by might have let the packet pass.
	doubt bool
	// last is the chain that had the packet when it was lost; byPolicy, that no rule
	// has lost it.
	last     string
	byPolicy bool
	steps    int
}

// The kernel has no deeper jumps. A packet goes through no more rules here than
// takes a moment.
const (
	deepest   = 16
	mostSteps = 200_000
)

// base returns what a base chain does with the packet.
func (t *trace) base(c Chain) fate {
	t.last = c.Name
	switch end := t.chain(c.Name, 0); {
	case end != onward && end != ended:
		return end
	case c.Hook.Drop:
		t.last, t.byPolicy = c.Name, true
		return lost
	default:
		return passes
	}
}

// chain returns onward at the end of the chain.
func (t *trace) chain(name string, depth int) fate {
	list, whole := t.rules.rules(name)
	if depth > deepest {
		list, whole = nil, false
	}
	for _, rule := range list {
		if t.steps++; t.steps > mostSteps {
			whole = false
			break
		}
		v, certain := t.rule(rule)
		if !certain {
			t.doubtful(v, depth)
			continue
		}
		end := onward
		switch v.Kind {
		case none:
		case accept:
			return passes
		case drop:
			t.last = name
			return lost
		case back:
			return ended
		case queue:
			return unknown
		case jump:
			end = t.chain(v.Chain, depth+1)
		case goTo:
			if end = t.chain(v.Chain, depth+1); end == onward {
				end = ended
			}
		}
		// What a chain that was jumped to has ended is itself.
		if end == ended && v.Kind == jump {
			end = onward
		}
		if end != onward {
			return end
		}
	}
	t.doubt = t.doubt || !whole
	return onward
}

// doubtful notes whether the packet would pass if a rule matched.
func (t *trace) doubtful(v Verdict, depth int) {
	switch v.Kind {
	case accept, back, queue:
		t.doubt = true
	case jump, goTo:
		aside := trace{packet: t.packet, rules: t.rules, steps: t.steps}
		end := aside.chain(v.Chain, depth+1)
		t.doubt = t.doubt || aside.doubt || end == passes || end == unknown
		t.steps = aside.steps
	case none, drop:
	}
}

// rule returns the verdict of a rule: none if the packet goes on to the next. If
// it is not certain that the rule matches, it is the verdict if it does.
func (t *trace) rule(r Rule) (v Verdict, certain bool) {
	var m registers
	certain = true
	for _, e := range r.Do {
		var matches, known bool
		switch e := e.(type) {
		case Verdict:
			return e, certain
		case Reject:
			return Drop(), certain
		case Lookup:
			var found Verdict
			if found, matches, known = t.lookup(e, &m); found.Kind != none {
				return found, certain
			}
		case Unknown:
			if found, is := targetOf(e); is {
				return found, certain
			}
			matches, known = t.unknown(e, &m)
		default:
			matches, known = t.step(e, &m)
		}
		switch {
		case !known:
			certain = false
		case !matches:
			return Verdict{}, true
		}
	}
	return Verdict{}, certain
}

// step says whether an expression without a verdict matches.
func (t *trace) step(e Expression, m *registers) (matches, known bool) {
	switch e := e.(type) {
	case Source:
		if v, known := t.packet.value(e); known {
			m.load(e.to(), v)
		} else {
			m.forget(e.to(), e.size())
		}
	case Compare:
		v, known := m.read(e.From, len(e.Value))
		return (v == e.Value) != e.Not, known
	case Range:
		v, known := m.read(e.From, len(e.First))
		return (e.First <= v && v <= e.Last) != e.Not, known
	case Bitwise:
		m.bitwise(e)
	case Byteorder:
		m.byteorder(e)
	case Limit:
		return false, false
	}
	return true, true
}

func (m *registers) bitwise(e Bitwise) {
	v, known := m.read(e.From, len(e.Mask))
	if !known || len(e.Xor) != len(e.Mask) {
		m.forget(e.To, len(e.Mask))
		return
	}
	result := []byte(v)
	for i := range result {
		result[i] = result[i]&e.Mask[i] ^ e.Xor[i]
	}
	m.load(e.To, Value(result))
}

func (m *registers) byteorder(e Byteorder) {
	length := int(min(e.Length, uint32(len(m.bytes))))
	v, known := m.read(e.From, length)
	if size := int(e.Size); !known || length == 0 || size != 2 && size != 4 && size != 8 || length%size != 0 {
		m.forget(e.To, length)
		return
	}
	result := []byte(v)
	for at := 0; at < length; at += int(e.Size) {
		switch part := result[at:]; e.Size {
		case 2:
			binary.BigEndian.PutUint16(part, binary.NativeEndian.Uint16(part))
		case 4:
			binary.BigEndian.PutUint32(part, binary.NativeEndian.Uint32(part))
		case 8:
			binary.BigEndian.PutUint64(part, binary.NativeEndian.Uint64(part))
		}
	}
	m.load(e.To, Value(result))
}

// lookup says what a set has for the key in registers.
func (t *trace) lookup(e Lookup, m *registers) (v Verdict, matches, known bool) {
	length := t.rules.keyLength(e.Set)
	key, known := m.read(e.From, length)
	if !known || length == 0 {
		if e.Into.Kind == ToVerdict {
			t.doubt = true // who knows what the map has
		}
		return Verdict{}, false, false
	}
	found, matches := t.rules.element(e.Set, key)
	switch {
	case !matches || e.Into.Kind == Nowhere:
		return Verdict{}, matches != e.Not, true
	case e.Into.Kind == ToVerdict:
		return found.Verdict, true, true
	default:
		m.load(e.Into.To, found.Value)
		return Verdict{}, true, true
	}
}

// unknown says whether an expression matches that this package does not make.
func (t *trace) unknown(e Unknown, m *registers) (matches, known bool) {
	switch e.name() {
	case matchOfXtables:
		return matchesXtables(e)
	case meta, conntrack, payload, logging, targetOfXtables, "last", "dup", "notrack", "flow_offload":
		return true, true // they write
	default:
		*m = registers{} // it may load
		return false, false
	}
}

// targetOf returns the verdict of an expression that ends a rule otherwise than
// by a verdict.
func targetOf(e Unknown) (v Verdict, is bool) {
	switch e.name() {
	case "queue":
		return Verdict{Kind: queue}, true
	case targetOfXtables:
		switch f := e.fields(); f.Text(unix.NFTA_TARGET_NAME) {
		case "REJECT":
			return Drop(), true
		case "NFQUEUE":
			return Verdict{Kind: queue}, true
		}
	}
	return Verdict{}, false
}
