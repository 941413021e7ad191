package document

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// mark is the byte order mark of an encoding.
type mark struct {
	name   string
	order  binary.ByteOrder
	width  int // bytes per unit
	prefix []byte
}

// marks are the encodings of YAML (YAML 1.2.2, 5.2) besides UTF-8. The wider ones
// come first, because the mark of one is the beginning of another's.
func marks() []mark {
	return []mark{
		{"UTF-32", binary.BigEndian, 4, []byte("\x00\x00\xfe\xff")},
		{"UTF-32", binary.LittleEndian, 4, []byte("\xff\xfe\x00\x00")},
		{"UTF-16", binary.BigEndian, 2, []byte("\xfe\xff")},
		{"UTF-16", binary.LittleEndian, 2, []byte("\xff\xfe")},
	}
}

// text converts a file into UTF-8 without a byte order mark. If there is no mark,
// it recognises UTF-16 and UTF-32 by the zeros in the first character, which is
// ASCII in every manifest. A file that is not text is a mistake, because half of
// a file is worse than none.
func text(file []byte) ([]byte, []Mistake) {
	for _, m := range marks() {
		if rest, ok := bytes.CutPrefix(file, m.prefix); ok {
			return m.decode(rest)
		}
	}
	for _, m := range marks() {
		if m.begins(file) {
			return m.decode(file)
		}
	}
	return checked(bytes.TrimPrefix(file, []byte("\xef\xbb\xbf")))
}

// begins reports whether a file begins with two ASCII characters in that
// encoding.
func (m mark) begins(file []byte) bool {
	if len(file) < 2*m.width {
		return false
	}
	for i := range 2 {
		if c := m.unit(file[i*m.width:]); c == 0 || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (m mark) unit(from []byte) uint32 {
	if m.width == 4 {
		return m.order.Uint32(from)
	}
	return uint32(m.order.Uint16(from))
}

func (m mark) decode(file []byte) ([]byte, []Mistake) {
	out := make([]byte, 0, len(file))
	for len(file) >= m.width {
		c := rune(m.unit(file))
		file = file[m.width:]
		if m.width == 2 && utf16.IsSurrogate(c) {
			var second rune
			if len(file) >= m.width {
				second = rune(m.unit(file))
				file = file[m.width:]
			}
			if c = utf16.DecodeRune(c, second); c == utf8.RuneError {
				return nil, m.broken(out)
			}
		}
		if !utf8.ValidRune(c) {
			return nil, m.broken(out)
		}
		out = utf8.AppendRune(out, c)
	}
	if len(file) > 0 {
		return nil, m.broken(out)
	}
	return checked(out)
}

func (m mark) broken(before []byte) []Mistake {
	return []Mistake{{Line: lineAfter(before), Message: fmt.Sprintf("the file is %s, and broken here: save it as UTF-8", m.name)}}
}

// checked returns valid UTF-8 without NUL, or a mistake.
func checked(file []byte) ([]byte, []Mistake) {
	if at := bytes.IndexByte(file, 0); at >= 0 {
		return nil, []Mistake{{Line: lineAfter(file[:at]), Message: "a NUL character stands here: the file is no text, or was cut off while it was written"}}
	}
	if utf8.Valid(file) {
		return file, nil
	}
	for at := 0; ; {
		c, size := utf8.DecodeRune(file[at:])
		if c == utf8.RuneError && size <= 1 {
			return nil, []Mistake{{Line: lineAfter(file[:at]), Message: fmt.Sprintf("the byte 0x%X is no UTF-8: save the file as UTF-8", file[at])}}
		}
		at += size
	}
}

// lineAfter is the line on which a text ends.
func lineAfter(text []byte) int { return bytes.Count(text, []byte("\n")) + 1 }
