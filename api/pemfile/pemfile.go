// Package pemfile reads all blocks of a PEM text (RFC 7468). If any block is
// damaged, the whole text is refused; the fault names the block, the line and the
// remedy.
//
// Go's decoder silently skips blocks that it cannot read, so that a chain or a
// list of authorities loses a certificate. This package skips nothing that looks
// like a part of a block. It accepts common changes by people and tools if they
// have only one meaning: a byte order mark, any kind of line ends, white space as
// in the lax grammar of RFC 7468, and a missing line break between two blocks. It
// ignores text between blocks, as OpenSSL writes it, and lines that begin with
// "#".
//
// The package knows neither certificates nor keys: a block is its type and its
// bytes. A fault never quotes the text, because the text may be a key.
package pemfile

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Block is one block of a text.
type Block struct {
	Type    string            // "CERTIFICATE"
	Headers map[string]string // RFC 1421 headers, such as DEK-Info; usually nil
	Bytes   []byte
	Line    int // line of its BEGIN, from 1
}

// Read returns all blocks in order. If it returns a fault, no blocks are valid.
// The fault is a phrase to follow "cannot be read: ". A text without blocks is a
// fault.
func Read(text []byte) (blocks []Block, fault string) {
	if fault := encodingFault(text); fault != "" {
		return nil, fault
	}
	var r reader
	for i, line := range lines(text) {
		if fault := r.take(i+1, line); fault != "" {
			return nil, fault
		}
	}
	switch {
	case r.open:
		return nil, r.name() + " has no line " + armourOf("END", r.block.Type) + ": the rest of it is missing"
	case len(r.blocks) == 0:
		return nil, "it is not PEM: it has no line like " + armourOf("BEGIN", "CERTIFICATE")
	}
	return r.blocks, ""
}

// IsPlain reports whether simpler decoders than Read find the same blocks: every
// armour line must start at the beginning of a line.
func IsPlain(text []byte) bool {
	blocks, fault := Read(text)
	if fault != "" {
		return false
	}
	for rest := text; len(blocks) > 0; blocks = blocks[1:] {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != blocks[0].Type || !bytes.Equal(block.Bytes, blocks[0].Bytes) {
			return false
		}
	}
	return true
}

// Encode writes blocks in their canonical form, without other text.
func Encode(blocks []Block) []byte {
	var out []byte
	for _, b := range blocks {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: b.Type, Headers: b.Headers, Bytes: b.Bytes})...)
	}
	return out
}

// lines cuts a text at line ends of any kind (RFC 7468: CRLF, CR or LF).
func lines(text []byte) [][]byte {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	return bytes.Split(bytes.ReplaceAll(text, []byte("\r"), []byte("\n")), []byte("\n"))
}

const (
	// byteOrderMark begins files of some editors. In concatenated files it also
	// occurs in the middle.
	byteOrderMark = "\ufeff"
	blank         = " \t\v\f" + byteOrderMark
)

// armour matches text that looks like the first or last line of a block, also
// with too few dashes, with a word processor's dashes, or in lower case.
var armour = regexp.MustCompile(`(?i)(?:-{3,}|[‐‑‒–—―−]+-*|-{4,}[ \t]+)(?:BEGIN|END)[ \t-]`)

// exact matches a correct armour line.
var exact = regexp.MustCompile(`^-----(BEGIN|END) ([!-,.-~](?:[ -~]*?[!-,.-~])?)-----`)

// reader is the state of reading a text up to a line.
type reader struct {
	blocks []Block
	open   bool // a block has begun
	block  Block
	body   []byte // base64
	number int    // current line, from 1
}

// name describes the current block for people.
func (r *reader) name() string {
	return fmt.Sprintf("block %d (%s, line %d)", len(r.blocks)+1, Name(r.block.Type), r.block.Line)
}

// take reads one line.
func (r *reader) take(number int, line []byte) (fault string) {
	r.number = number
	if !r.open && isComment(line) {
		return ""
	}
	for first := true; ; first = false {
		at := armour.FindIndex(line)
		if at == nil {
			return r.text(line, first)
		}
		if fault := r.before(line[:at[0]]); fault != "" {
			return fault
		}
		match := exact.FindSubmatch(line[at[0]:])
		if match == nil {
			return fmt.Sprintf("line %d is not quite a line that begins or ends a block: it must be like %s, with five hyphens on each side",
				number, armourOf("BEGIN", "CERTIFICATE"))
		}
		line = line[at[0]+len(match[0]):]
		if string(match[1]) == "BEGIN" {
			fault = r.begin(string(match[2]))
		} else {
			fault = r.end(string(match[2]))
		}
		if fault != "" {
			return fault
		}
	}
}

// text reads a line without armour: base64 in a block, or a comment on a line of
// its own outside of blocks.
func (r *reader) text(line []byte, whole bool) (fault string) {
	rest := bytes.Trim(line, blank)
	switch {
	case r.open:
		return r.content(line)
	case len(rest) == 0:
	case !whole:
		return fmt.Sprintf("something stands in line %d behind the end of a block: %s", r.number, ownLine(rest))
	case isBody(rest):
		return fmt.Sprintf("line %d looks like a part of a block, and stands in none: its line %s is missing",
			r.number, armourOf("BEGIN", "…"))
	}
	return ""
}

// before reads the text before armour on the same line.
func (r *reader) before(text []byte) (fault string) {
	if r.open {
		return r.content(text)
	}
	if rest := bytes.Trim(text, blank); len(rest) > 0 {
		return fmt.Sprintf("something stands in line %d before the beginning of a block: %s", r.number, ownLine(rest))
	}
	return ""
}

// ownLine is the remedy for text next to armour.
func ownLine(text []byte) string {
	if len(bytes.Trim(text, `"'`)) == 0 {
		return "remove the quotation marks"
	}
	return "the block needs lines of its own"
}

func (r *reader) begin(kind string) (fault string) {
	if r.open {
		return fmt.Sprintf("%s has no line %s before the next block begins in line %d", r.name(), armourOf("END", r.block.Type), r.number)
	}
	r.open, r.block, r.body = true, Block{Type: kind, Line: r.number}, nil
	return ""
}

func (r *reader) end(kind string) (fault string) {
	switch {
	case !r.open:
		return fmt.Sprintf("a block ends in line %d that has not begun: its line %s is missing", r.number, armourOf("BEGIN", kind))
	case kind != r.block.Type:
		return fmt.Sprintf("%s ends in line %d as a block of another type", r.name(), r.number)
	}
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(r.body)))
	n, err := base64.StdEncoding.Decode(decoded, r.body)
	if err != nil {
		return r.name() + " is damaged: its base64 is not complete"
	}
	r.block.Bytes = decoded[:n]
	r.blocks, r.open = append(r.blocks, r.block), false
	return ""
}

// content reads a line of a block, or a part of one.
func (r *reader) content(line []byte) (fault string) {
	if key, value, ok := strings.Cut(string(line), ":"); ok && len(r.body) == 0 && len(bytes.Trim(line, blank)) > 0 {
		if r.block.Headers == nil {
			r.block.Headers = map[string]string{}
		}
		r.block.Headers[strings.Trim(key, blank)] = strings.Trim(value, blank)
		return ""
	}
	column := 0
	for _, c := range string(line) {
		column++
		switch {
		case isBase64(c):
			r.body = append(r.body, byte(c))
		case !strings.ContainsRune(blank, c):
			return fmt.Sprintf("%s is damaged: character %d of line %d (%U) is no base64", r.name(), column, r.number, c)
		}
	}
	return ""
}

func isComment(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(line, blank), []byte("#"))
}

// hexadecimal matches a fingerprint, which is for people.
var hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]*$`)

// isBody reports whether a line outside of blocks must come from inside a block.
func isBody(line []byte) bool {
	const wide = 60 // encoders write 64 or 76 characters
	return len(line) >= wide && !hexadecimal.Match(line) &&
		!slices.ContainsFunc([]rune(string(line)), func(c rune) bool { return !isBase64(c) })
}

func isBase64(c rune) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '='
}

func armourOf(what, kind string) string { return fmt.Sprintf("-----%s %s-----", what, Name(kind)) }

// named matches the block types that messages may quote. Other types could hold
// any text.
var named = regexp.MustCompile(`^[A-Z0-9][A-Z0-9 ]{0,39}$`)

// Name is a block's type for messages.
func Name(kind string) string {
	if named.MatchString(kind) {
		return kind
	}
	return "…"
}
