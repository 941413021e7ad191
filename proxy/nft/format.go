package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// format is the element as nft would write it, for errors and reports.
func (s Set) format(e Element) string {
	text := s.Key.format(e.Key)
	if e.End != "" && e.End != e.Key {
		text += "-" + s.Key.format(e.End)
	}
	switch {
	case e.Verdict.Kind != 0:
		return text + " : " + e.Verdict.String()
	case e.Value != "":
		return text + " : " + s.Value.format(e.Value)
	default:
		return text
	}
}

func (t Type) format(v Value) string {
	fields := make([]string, 0, len(t))
	for _, f := range t {
		n := min(f.size(), len(v))
		fields = append(fields, f.format([]byte(v[:n])))
		v = v[min(padded(n), len(v)):]
	}
	return strings.Join(fields, " . ")
}

func (f Field) format(b []byte) string {
	if len(b) != f.size() {
		return fmt.Sprintf("0x%x", b)
	}
	switch f {
	case IPv4Addr, IPv6Addr:
		address, _ := netip.AddrFromSlice(b)
		return address.String()
	case InetService:
		return fmt.Sprint(binary.BigEndian.Uint16(b))
	case InetProto, NFProto:
		return fmt.Sprint(b[0])
	case Mark, IfIndex:
		return fmt.Sprint(binary.NativeEndian.Uint32(b))
	case IfName:
		return strings.TrimRight(string(b), "\x00")
	default:
		return fmt.Sprintf("0x%x", b)
	}
}

// String is the verdict as nft writes it.
func (v Verdict) String() string {
	switch v.Kind {
	case accept:
		return "accept"
	case drop:
		return "drop"
	case back:
		return "return"
	case jump:
		return "jump " + v.Chain
	case goTo:
		return "goto " + v.Chain
	default:
		return ""
	}
}
