package acme

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/tls/certificate"
)

// Order is the way to one certificate: from the intent to get it until it is
// there, over all failures on the way. Client.Plan makes one, and Client.Advance
// takes it on. Its owner stores it with Save after each of them, and reads it with
// Restore after a crash.
//
// Only Save writes its key. JSON by any other way, and printing, leave it out.
type Order struct {
	Want Want `json:"want"`
	// Replaces is the certificate that this one follows, as RFC 9773 names it; empty
	// if the authority would not know it, or if there is none.
	Replaces string `json:"replaces,omitempty"`
	State    State  `json:"state"`
	// Key is the certificate's, in PEM. Each attempt has a fresh one.
	Key secret.Bytes `json:"-"`

	// Began is when this attempt was planned.
	Began time.Time `json:"began"`
	// Due is when Advance may be called next. Before that it does nothing.
	Due time.Time `json:"due,omitzero"`
	// Waiting tells people what the order waits for.
	Waiting string `json:"waiting,omitempty"`
	// Failures is how many attempts in a row have failed.
	Failures int `json:"failures,omitempty"`
	// Stumbles is how many steps in a row have failed that will be done again.
	Stumbles int `json:"stumbles,omitempty"`
	// Failure is the last failure; nil once a certificate is there.
	Failure *Failure `json:"failure,omitempty"`

	// Permit is for one newOrder request. Unsure says that one may have been sent
	// whose answer was lost.
	Permit string `json:"permit,omitempty"`
	Unsure bool   `json:"unsure,omitempty"`
	// URL names the order at the authority.
	URL string `json:"url,omitempty"`
	// Expires is when the authority forgets the order if it is not finished.
	Expires        time.Time       `json:"expires,omitzero"`
	Authorizations []Authorization `json:"authorizations,omitempty"`
	Finalize       string          `json:"finalize,omitempty"`
	Download       string          `json:"download,omitempty"`
	// Chain is the certificate, in PEM, when the order is Done.
	Chain []byte `json:"chain,omitempty"`
}

// State is how far an order has come.
type State string

// The states, in this order. Each but Done and Failed can also lead to Failed.
const (
	// Planned: the next step places the order at the authority.
	Planned State = "Planned"
	// Authorizing: the names are proved to the authority.
	Authorizing State = "Authorizing"
	// Finalizing: all names are proved, and the authority issues.
	Finalizing State = "Finalizing"
	// Downloading: the authority has issued the certificate.
	Downloading State = "Downloading"
	// Done: the certificate is there and has been checked.
	Done State = "Done"
	// Failed: this attempt is over. When the order is due, Advance plans another.
	Failed State = "Failed"
)

// Authorization is the authority's demand to prove one name.
type Authorization struct {
	URL string `json:"url"`
	// Valid says that the name is proved.
	Valid bool `json:"valid,omitempty"`
	// Challenge is the one chosen; nil before.
	Challenge *Challenge `json:"challenge,omitempty"`
	// Accept is the URL at which the authority is told to look.
	Accept string `json:"accept,omitempty"`
	// Accepted says that the authority has been told.
	Accepted bool `json:"accepted,omitempty"`
}

// Challenges are those that must be answered now, sorted. Each is one of them from
// before the authority is told to look until its name is proved.
func (o Order) Challenges() []Challenge {
	if o.State != Authorizing {
		return nil
	}
	var out []Challenge
	for _, a := range o.Authorizations {
		if a.Challenge != nil && !a.Valid {
			out = append(out, *a.Challenge)
		}
	}
	slices.SortFunc(out, func(a, b Challenge) int {
		return slices.Compare([]string{a.Name, a.Token}, []string{b.Name, b.Token})
	})
	return out
}

// Certificate is that of a Done order; fault is as of certificate.Parse.
func (o Order) Certificate() (c *certificate.Certificate, fault string) {
	return certificate.Parse(o.Chain, o.Key.Reveal())
}

// Save is the order as JSON, with its key.
func (o Order) Save() (secret.Bytes, error) {
	type plain Order
	text, err := json.Marshal(struct {
		plain
		Key []byte `json:"key"`
	}{plain(o), o.Key.Reveal()})
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("write order: %w", err)
	}
	return secret.New(text), nil
}

// Restore reads what Save wrote.
func Restore(text []byte) (Order, error) {
	type plain Order
	var stored struct {
		plain
		Key []byte `json:"key"`
	}
	if err := json.Unmarshal(text, &stored); err != nil {
		return Order{}, fmt.Errorf("read order: %w", err)
	}
	o := Order(stored.plain)
	o.Key = secret.New(stored.Key)
	switch o.State {
	case Planned, Authorizing, Finalizing, Downloading, Done, Failed:
	default:
		return Order{}, fmt.Errorf("read order: no state is called %q", o.State)
	}
	if _, err := parseKey(o.Key); err != nil {
		return Order{}, fmt.Errorf("read order: its key: %w", err)
	}
	return o, nil
}

// clone is a copy that shares nothing that a step changes.
func (o Order) clone() Order {
	o.Authorizations = slices.Clone(o.Authorizations)
	return o
}
