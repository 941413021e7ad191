package strangers_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// escape is what a file writes for bytes that no editor likes: \r, \n, \t, \0,
// \x7f, \\, and \{N:text} for N times the text.
var escape = regexp.MustCompile(`\\(?:[rnt0\\]|x[0-9a-fA-F]{2}|\{[0-9]+:[^}]*\})`)

// unescape is the text that is meant.
func unescape(text string) string {
	return escape.ReplaceAllStringFunc(text, func(e string) string {
		switch e[1] {
		case 'r':
			return "\r"
		case 'n':
			return "\n"
		case 't':
			return "\t"
		case '0':
			return "\x00"
		case '\\':
			return `\`
		case 'x':
			b, _ := strconv.ParseUint(e[2:], 16, 8)
			return string([]byte{byte(b)})
		}
		count, repeated, _ := strings.Cut(e[2:len(e)-1], ":")
		n, _ := strconv.Atoi(count)
		return strings.Repeat(repeated, n)
	})
}

// wire is what goes over a connection of HTTP/1: each line ends with CRLF,
// unless it ends with a backslash, which stands for nothing at all.
func wire(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(lines) {
		line = strings.TrimSuffix(line, "\n")
		if whole, cut := strings.CutSuffix(line, `\`); cut && !strings.HasSuffix(whole, `\`) {
			b.WriteString(unescape(whole))
			continue
		}
		b.WriteString(unescape(line))
		b.WriteString("\r\n")
	}
	return b.String()
}

// String is a line of the section "backend".
func (r *received) String() string {
	text := fmt.Sprintf("%s: %s %s host %s", r.Backend, r.Method, short(r.Target), short(strings.Join(r.values("host"), "|")))
	if len(r.Body) > 0 {
		text += " body " + short(strconv.Quote(string(r.Body)))
	}
	for _, f := range r.Fields {
		// What the gateway says itself is the same in all of them.
		switch strings.ToLower(f.Name) {
		case "host", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host", "x-request-id",
			"x-forwarded-client-cert":
		default:
			text += fmt.Sprintf("; %s: %s", f.Name, short(f.Value))
		}
	}
	return text
}

// short is a text that fits into a line, and says how long it was.
func short(text string) string {
	if len(text) <= 100 {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", bytes.ToValidUTF8([]byte(text[:20]), nil), len(text))
}
