package acme

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	xacme "golang.org/x/crypto/acme"
)

// wireProblem is a problem document (RFC 7807, RFC 8555 6.7).
type wireProblem struct {
	Type        string             `json:"type"`
	Detail      string             `json:"detail"`
	Instance    string             `json:"instance"`
	Status      int                `json:"status"`
	Subproblems []xacme.Subproblem `json:"subproblems"`
}

func (p *wireProblem) problem() *xacme.Error {
	if p == nil {
		return &xacme.Error{Detail: "the issuer does not say why"}
	}
	return &xacme.Error{
		StatusCode: p.Status, ProblemType: p.Type, Detail: p.Detail, Instance: p.Instance, Subproblems: p.Subproblems,
	}
}

type wireIdentifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// wireOrder is an order as the authority has it (RFC 8555, 7.1.3).
type wireOrder struct {
	url            string
	retry          time.Time        // when the authority allows the next request; zero: it does not say
	Status         string           `json:"status"`
	Expires        time.Time        `json:"expires"`
	Identifiers    []wireIdentifier `json:"identifiers"`
	Profile        string           `json:"profile"`
	Error          *wireProblem     `json:"error"`
	Authorizations []string         `json:"authorizations"`
	Finalize       string           `json:"finalize"`
	Certificate    string           `json:"certificate"`
}

// names are the order's names, in the one spelling that compares.
func (o wireOrder) names() []string {
	names := make([]string, 0, len(o.Identifiers))
	for _, id := range o.Identifiers {
		names = append(names, id.Value)
	}
	return normal(names)
}

// fits reports whether it is an order for that certificate which can still be
// finished. An order that was finalized may have been so with another key.
func (o wireOrder) fits(want Want, now time.Time) bool {
	open := o.Status == xacme.StatusPending || o.Status == xacme.StatusReady
	return open && slices.Equal(o.names(), want.Names) &&
		(want.Profile == "" || o.Profile == "" || o.Profile == want.Profile) &&
		(o.Expires.IsZero() || o.Expires.After(now.Add(time.Minute)))
}

// wireAuthorization is RFC 8555, 7.1.4.
type wireAuthorization struct {
	retry      time.Time
	Status     string          `json:"status"`
	Identifier wireIdentifier  `json:"identifier"`
	Wildcard   bool            `json:"wildcard"`
	Challenges []wireChallenge `json:"challenges"`
}

// name is the name that it is for, with "*." if that is a wildcard.
func (a wireAuthorization) name() string {
	if a.Wildcard {
		return "*." + a.Identifier.Value
	}
	return a.Identifier.Value
}

// wireChallenge is RFC 8555, 7.1.5.
type wireChallenge struct {
	Type   string       `json:"type"`
	URL    string       `json:"url"`
	Token  string       `json:"token"`
	Status string       `json:"status"`
	Error  *wireProblem `json:"error"`
}

// order reads an order, or changes it if there is a payload.
func (c *Client) order(ctx context.Context, url string, payload any) (wireOrder, error) {
	a, err := c.post(ctx, url, payload)
	if err != nil {
		return wireOrder{}, err
	}
	return c.readOrder(a, url)
}

func (c *Client) readOrder(a answer, url string) (wireOrder, error) {
	o := wireOrder{url: url, retry: retryAfter(a.header, c.now())}
	if err := json.Unmarshal(a.body, &o); err != nil {
		return wireOrder{}, fmt.Errorf("read order: %w", err)
	}
	if o.url == "" || o.Status == "" || o.Finalize == "" {
		return wireOrder{}, errIncomplete
	}
	return o, nil
}

func (c *Client) authorization(ctx context.Context, url string) (wireAuthorization, error) {
	answer, err := c.post(ctx, url, nil)
	if err != nil {
		return wireAuthorization{}, err
	}
	a := wireAuthorization{retry: retryAfter(answer.header, c.now())}
	if err := json.Unmarshal(answer.body, &a); err != nil {
		return wireAuthorization{}, fmt.Errorf("read authorization: %w", err)
	}
	return a, nil
}
