package acme

import (
	"strings"
	"time"
	"unicode"
)

// Kind says who can do something about a failure.
type Kind string

// The kinds.
const (
	// Temporary: nobody has to do anything. The step is done again.
	Temporary Kind = "Temporary"
	// Refused: the user has to. Something is wrong with a name or with the settings,
	// and the text says what. The order is tried again, on the schedule.
	Refused Kind = "Refused"
	// RateLimited: nobody can, before Until.
	RateLimited Kind = "RateLimited"
	// Bug: a developer has to, of Fairway or of the authority. The order is tried
	// again, on the schedule.
	Bug Kind = "Bug"
)

// Failure is why a step did not succeed. It is an error, and a value that an
// Order keeps.
type Failure struct { //nolint:errname // it is kept and shown more often than returned
	Kind Kind `json:"kind"`
	// Text tells people in one line which names failed, what happened, and what to
	// do. It holds no secret.
	Text string    `json:"text"`
	At   time.Time `json:"at,omitzero"`
	// Until is when the authority allows the next request; zero if it did not say.
	Until time.Time `json:"until,omitzero"`

	authorityAway  bool // see Away
	endsAttempt    bool // the attempt cannot go on
	accountUnknown bool // the authority does not know our account
}

// Away reports whether the authority did not answer, or said that it is out of
// order. Every other request to it would now end the same way.
func (f *Failure) Away() bool { return f.authorityAway }

// Error implements error.
func (f *Failure) Error() string { return f.Text }

func refuse(text string) *Failure {
	return &Failure{Kind: Refused, Text: oneLine(text, maxText), endsAttempt: true}
}

// The bounds of an authority's text that is kept, in bytes.
const (
	maxDetail = 300
	maxText   = 1500
)

// oneLine makes one line, of at most so many bytes, of text that we did not write.
func oneLine(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}
