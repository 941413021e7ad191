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
// there, over all failures on the way. Client.Plan makes one, Client.Advance
// takes it on, and who owns it stores it after each of both: with Save, where
// Restore finds it after a crash.
//
// Written as JSON by anything but Save, or printed, it does not show its key.
type Order struct {
	Want Want `json:"want"`
	// Replaces is the certificate that this one follows, as RFC 9773 names it;
	// empty where there is none that the authority would know.
	Replaces string `json:"replaces,omitempty"`
	State    State  `json:"state"`
	// Key is the certificate's, in PEM. Each attempt has a fresh one.
	Key secret.Bytes `json:"-"`

	// Began is when this attempt was planned.
	Began time.Time `json:"began"`
	// Due is when Advance may be called next. Sooner, it does nothing.
	Due time.Time `json:"due,omitzero"`
	// Waiting is what the order waits for, for people.
	Waiting string `json:"waiting,omitempty"`
	// Failures is how many attempts in a row have failed.
	Failures int `json:"failures,omitempty"`
	// Stumbles is how many steps in a row have failed that will be done again.
	Stumbles int `json:"stumbles,omitempty"`
	// Failure is what went wrong last; nil once a certificate is there.
	Failure *Failure `json:"failure,omitempty"`

	// Permit is for one newOrder request. Unsure: one may have been sent whose
	// answer nobody has seen.
	Permit string `json:"permit,omitempty"`
	Unsure bool   `json:"unsure,omitempty"`
	// URL names the order at the authority.
	URL string `json:"url,omitempty"`
	// Expires is when the authority forgets an order that has not been finished.
	Expires        time.Time       `json:"expires,omitzero"`
	Authorizations []Authorization `json:"authorizations,omitempty"`
	Finalize       string          `json:"finalize,omitempty"`
	Download       string          `json:"download,omitempty"`
	// Chain is the certificate, in PEM, when the order is Done.
	Chain []byte `json:"chain,omitempty"`
}

// State is how far an order has come.
type State string

// The states, in this order; from each but Done and Failed, also to Failed.
const (
	// Planned: the next step places the order at the authority.
	Planned State = "Planned"
	// Authorizing: the authority wants to see that the names are ours.
	Authorizing State = "Authorizing"
	// Finalizing: it has seen that, and issues.
	Finalizing State = "Finalizing"
	// Downloading: it has issued.
	Downloading State = "Downloading"
	// Done: the certificate is there, checked.
	Done State = "Done"
	// Failed: this attempt is over. When the order is due, Advance plans another.
	Failed State = "Failed"
)

// Authorization is what the authority wants to see for one name.
type Authorization struct {
	URL string `json:"url"`
	// Valid: it has seen it.
	Valid bool `json:"valid,omitempty"`
	// Challenge is the one chosen; nil before.
	Challenge *Challenge `json:"challenge,omitempty"`
	// Accept is where the authority is told to look.
	Accept string `json:"accept,omitempty"`
	// Accepted: it has been told.
	Accepted bool `json:"accepted,omitempty"`
}

// Challenges are those that must be answered now, sorted: from before the
// authority is told to look until it has seen.
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

// Certificate is what a Done order brought; fault is as of certificate.Parse.
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

// clone shares nothing that a step changes.
func (o Order) clone() Order {
	o.Authorizations = slices.Clone(o.Authorizations)
	return o
}
