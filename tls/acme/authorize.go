package acme

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	xacme "golang.org/x/crypto/acme"
)

// authorize goes once over the names that are not yet proved to the authority.
// It chooses challenges in one step and has them presented in a later one: only a
// challenge that was saved is answered.
func (c *Client) authorize(ctx context.Context, o Order, presenter Presenter) (Order, error) {
	chose, err := c.choose(ctx, &o)
	if err != nil || chose {
		return o, err
	}
	round := validationRound{Client: c, presenter: presenter}
	for i := range o.Authorizations {
		if err := round.visit(ctx, &o.Authorizations[i]); err != nil {
			return o, err
		}
	}
	if len(round.waiting) == 0 {
		o.State = Finalizing
		return o, nil
	}
	return c.wait(o, round.retry, oneLine(strings.Join(round.waiting, "; "), maxText)), nil
}

// choose takes a challenge for each name that needs one.
func (c *Client) choose(ctx context.Context, o *Order) (chose bool, err error) {
	for i := range o.Authorizations {
		a := &o.Authorizations[i]
		if a.Valid || a.Challenge != nil {
			continue
		}
		there, err := c.authorization(ctx, a.URL)
		if err != nil {
			return chose, err
		}
		switch there.Status {
		case xacme.StatusValid: // seen for an order before this
			a.Valid = true
		case xacme.StatusPending:
			if err := c.chooseFor(a, there, *o); err != nil {
				return chose, err
			}
		default:
			return chose, invalid(there)
		}
		chose = true
	}
	return chose, nil
}

// chooseFor takes the preferred one of the challenges that are both allowed and
// offered. After a failure it takes the next one, and after the last the first:
// port 80 may be closed where port 443 is open.
func (c *Client) chooseFor(a *Authorization, there wireAuthorization, o Order) error {
	if !slices.Contains(o.Want.Names, strings.ToLower(there.name())) {
		return &Failure{Kind: Bug, endsAttempt: true, Text: fmt.Sprintf("the issuer wants to see %s, which is not in the order", oneLine(there.name(), maxDetail))}
	}
	var usable []wireChallenge
	var offered []string
	for _, challenge := range there.Challenges {
		offered = append(offered, oneLine(challenge.Type, maxDetail))
	}
	for _, allowed := range c.settings.challenges() {
		at := slices.IndexFunc(there.Challenges, func(w wireChallenge) bool { return w.Type == string(allowed) })
		if at >= 0 {
			usable = append(usable, there.Challenges[at])
		}
	}
	if len(usable) == 0 {
		return refuse(fmt.Sprintf("%s: the issuer wants one of %s, and its settings allow %v: allow one of them",
			there.name(), strings.Join(offered, ", "), c.settings.challenges()))
	}
	chosen := usable[o.Failures%len(usable)]
	if !isToken(chosen.Token) {
		return &Failure{Kind: Bug, endsAttempt: true, Text: there.name() + ": the issuer's challenge has no token of base64url"}
	}
	thumb, err := xacme.JWKThumbprint(c.key.Public())
	if err != nil {
		return fmt.Errorf("make key authorization: %w", err)
	}
	a.Accept = chosen.URL
	a.Challenge = &Challenge{
		Name: strings.ToLower(there.Identifier.Value), Type: ChallengeType(chosen.Type),
		Token: chosen.Token, KeyAuthorization: chosen.Token + "." + thumb,
	}
	return nil
}

// isToken reports whether text is of the alphabet of base64url (RFC 8555, 8.1). A
// token becomes part of a path, so it must hold nothing else.
func isToken(text string) bool {
	other := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}
	return text != "" && len(text) <= maxDetail && !strings.ContainsFunc(text, other)
}

// validationRound is one round over an order's authorizations.
type validationRound struct {
	*Client
	presenter Presenter
	waiting   []string  // what the round waits for, one entry for each name
	retry     time.Time // when the authority wants to be asked; zero: it does not say
}

// visit brings one authorization as far as it goes now.
func (p *validationRound) visit(ctx context.Context, a *Authorization) error {
	if a.Valid {
		return nil
	}
	name := a.Challenge.Name
	if !a.Accepted {
		ok, why, err := p.presenter.Presented(ctx, *a.Challenge)
		if err != nil {
			return fmt.Errorf("look whether the challenge of %s is answered: %w", name, err)
		}
		if !ok {
			p.waitFor(time.Time{}, name+": "+why)
			return nil
		}
	}
	there, err := p.authorization(ctx, a.URL)
	if err != nil {
		return err
	}
	switch there.Status {
	case xacme.StatusValid:
		a.Valid, a.Accepted = true, true
		return nil
	case xacme.StatusPending:
	default:
		return invalid(there)
	}
	if there.isUntold(a.Accept) {
		if err := p.accept(ctx, a); err != nil {
			return err
		}
	}
	a.Accepted = true
	p.waitFor(there.retry, name+": the issuer is looking for the answer to its challenge")
	return nil
}

// accept has the authority look. A refusal may only mean that an earlier request,
// which we gave up long ago, has just arrived.
func (p *validationRound) accept(ctx context.Context, a *Authorization) error {
	_, refused := p.post(ctx, a.Accept, struct{}{})
	if !isRefusal(refused) {
		return refused
	}
	there, err := p.authorization(ctx, a.URL)
	if err != nil || there.isUntold(a.Accept) {
		return refused
	}
	return nil
}

func (p *validationRound) waitFor(until time.Time, what string) {
	p.waiting = append(p.waiting, what)
	if until.After(p.retry) {
		p.retry = until
	}
}

// isUntold reports whether no request to look has arrived at the authority.
func (a wireAuthorization) isUntold(challenge string) bool {
	return slices.ContainsFunc(a.Challenges, func(w wireChallenge) bool {
		return w.URL == challenge && w.Status == xacme.StatusPending
	})
}

// invalid is the reason why an authorization cannot become valid any more.
func invalid(a wireAuthorization) error {
	for _, challenge := range a.Challenges {
		if challenge.Error != nil {
			return validationFailure(fmt.Sprintf("%s by %s", a.name(), challenge.Type), challenge.Error.problem())
		}
	}
	return &Failure{
		Kind: Temporary, endsAttempt: true,
		Text: fmt.Sprintf("%s: the authorization is %s, and the issuer does not say why", a.name(), oneLine(a.Status, maxDetail)),
	}
}
