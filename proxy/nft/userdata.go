package nft

import (
	"encoding/binary"
	"strings"
)

// Userdata is what the kernel keeps for nft beside an object. It is a list of
// type, length and value, of one byte each but the value; the types are nft's.
const (
	commentOfRule  = 0
	commentOfTable = 0
	commentOfChain = 0
	commentOfSet   = 7

	setKeyOrder  = 0
	setDataOrder = 1
)

// maxComment leaves room for the NUL in what nft reads.
const maxComment = 127

func comment(kind byte, text string) []byte {
	if text == "" {
		return nil
	}
	text = text[:min(len(text), maxComment)]
	b := append([]byte{kind, byte(len(text) + 1)}, text...) //nolint:gosec // cut above
	return append(b, 0)
}

func commentIn(kind byte, userdata []byte) string {
	for len(userdata) >= 2 {
		end := 2 + int(userdata[1])
		if end > len(userdata) {
			return ""
		}
		if userdata[0] == kind {
			text, _, _ := strings.Cut(string(userdata[2:end]), "\x00")
			return text
		}
		userdata = userdata[end:]
	}
	return ""
}

// userdata tells nft the byte order of keys and values, which it needs to print them.
func (s Set) userdata() []byte {
	b := order(setKeyOrder, s.Key)
	if len(s.Value) > 0 && !s.Value.verdict() {
		b = append(b, order(setDataOrder, s.Value)...)
	}
	return append(b, comment(commentOfSet, s.Comment)...)
}

func order(kind byte, t Type) []byte {
	const machine, network = 1, 2
	value := uint32(network)
	if len(t) == 1 && (t[0] == Mark || t[0] == IfIndex || t[0] == IfName) {
		value = machine
	}
	return binary.NativeEndian.AppendUint32([]byte{kind, 4}, value)
}
