// Package secret is for bytes that nobody may read but whom they are for.
//
// It keeps no secret from code that asks for it; it keeps those from leaking
// that nobody thought of: a log line, an error, a diff of a test, a dump of a
// struct that happens to hold one.
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
)

// mark stands for a secret wherever one is written.
const mark = "[secret]"

// Bytes are secret. The zero value is empty. However they are formatted, logged
// or marshalled, also as a field that is not exported, what they hold does not
// show.
type Bytes struct {
	reveal func() []byte // of all kinds, fmt prints only functions without following them
}

// New makes bytes secret. They must not be changed afterwards.
func New(bytes []byte) Bytes { return Bytes{func() []byte { return bytes }} }

// Reveal is the bytes. They must not be changed.
func (b Bytes) Reveal() []byte {
	if b.reveal == nil {
		return nil
	}
	return b.reveal()
}

// Equal compares in a time that does not depend on where they differ.
func (b Bytes) Equal(other Bytes) bool {
	return subtle.ConstantTimeCompare(b.Reveal(), other.Reveal()) == 1
}

// Format implements fmt.Formatter, for every verb.
func (Bytes) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, mark) }

// MarshalText implements encoding.TextMarshaler.
func (Bytes) MarshalText() ([]byte, error) { return []byte(mark), nil }

// MarshalJSON implements json.Marshaler.
func (Bytes) MarshalJSON() ([]byte, error) { return []byte(`"` + mark + `"`), nil }
