// Package secret keeps secret bytes out of output.
//
// Code that asks for the bytes gets them. The package prevents accidental leaks:
// in a log line, an error, a diff of a test, or a dump of a struct that happens
// to hold a secret.
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
)

// mark replaces a secret in all output.
const mark = "[secret]"

// Bytes are secret. The zero value is empty. Formatting, logging and marshalling
// never show the content, even in a field that is not exported.
type Bytes struct {
	reveal func() []byte // a function, because fmt does not follow functions
}

// New makes bytes secret. They must not be changed afterwards.
func New(bytes []byte) Bytes { return Bytes{func() []byte { return bytes }} }

// Reveal returns the bytes. They must not be changed.
func (b Bytes) Reveal() []byte {
	if b.reveal == nil {
		return nil
	}
	return b.reveal()
}

// Equal compares in constant time.
func (b Bytes) Equal(other Bytes) bool {
	return subtle.ConstantTimeCompare(b.Reveal(), other.Reveal()) == 1
}

// Format implements fmt.Formatter, for every verb.
func (Bytes) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, mark) }

// MarshalText implements encoding.TextMarshaler.
func (Bytes) MarshalText() ([]byte, error) { return []byte(mark), nil }

// MarshalJSON implements json.Marshaler.
func (Bytes) MarshalJSON() ([]byte, error) { return []byte(`"` + mark + `"`), nil }
