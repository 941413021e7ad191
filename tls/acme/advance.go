package acme

import (
	"context"
	"fmt"
	"time"
)

// Plan is the intent to get a certificate for the names. It sends no request. The
// caller saves the order before the first Advance.
//
// replaces is the RenewalInfo.Replaces of the certificate that the new one follows,
// if both are of the same authority; else it is empty.
func (c *Client) Plan(replaces string, names ...string) (Order, error) {
	return c.plan(Order{Want: c.settings.Want(names...), Replaces: replaces})
}

// plan is the next attempt of an order, with a key of its own.
func (c *Client) plan(last Order) (Order, error) {
	key, err := newKey(last.Want.KeyType, c.random)
	if err != nil {
		return Order{}, fmt.Errorf("generate key: %w", err)
	}
	permit, err := c.permits.give(c.random)
	if err != nil {
		return Order{}, fmt.Errorf("plan order: %w", err)
	}
	return Order{
		Want: last.Want, Replaces: last.Replaces, State: Planned, Key: key, Began: c.now(),
		Permit: permit, Unsure: last.Unsure, Failures: last.Failures, Failure: last.Failure,
	}, nil
}

// Advance takes an order one step on: at most one of the requests that change
// something at the authority. The caller saves the order that it returns, also
// when there is an error, before the next Advance. That is due at Order.Due, and at
// once if Due is zero. Before Due, and when the order is Done, Advance does nothing.
//
// The error is the *Failure of this step, which the order holds too, or the error
// of the context. Advance plans a Failed order anew when it is due. It asks the
// Presenter about challenges before it tells the authority to look.
func (c *Client) Advance(ctx context.Context, o Order, presenter Presenter) (Order, error) {
	if o.State == Done || c.now().Before(o.Due) {
		return o, nil
	}
	next := o.clone()
	next.Due, next.Waiting = time.Time{}, ""
	next, err := c.step(ctx, next, presenter)
	if err == nil {
		next.Stumbles = 0
		return next, nil
	}
	if ctx.Err() != nil {
		return o, ctx.Err() // the next step asks what became of this one
	}
	failure := failureOf(actionOf(o), err, c.now())
	return c.fail(next, failure), failure
}

func (c *Client) step(ctx context.Context, o Order, presenter Presenter) (Order, error) {
	if o.Want.Directory != c.settings.Directory {
		return o, &Failure{Kind: Bug, Text: "the order is for another issuer, " + o.Want.Directory, endsAttempt: true}
	}
	open := o.State == Authorizing || o.State == Finalizing
	if open && !o.Expires.IsZero() && c.now().After(o.Expires) {
		return o, &Failure{Kind: Temporary, Text: "the order was not finished before the issuer forgot it", endsAttempt: true}
	}
	switch o.State {
	case Planned:
		return c.place(ctx, o)
	case Authorizing:
		return c.authorize(ctx, o, presenter)
	case Finalizing:
		return c.finalize(ctx, o)
	case Downloading:
		return c.download(ctx, o)
	case Failed:
		planned, err := c.plan(o)
		if err != nil {
			return o, err
		}
		return planned, nil
	case Done:
	}
	return o, nil
}

// actionOf is what the next step of the order does, as errors begin.
func actionOf(o Order) string {
	return map[State]string{
		Planned: "order certificate", Authorizing: "prove names", Finalizing: "have certificate issued",
		Downloading: "download certificate", Failed: "plan order",
	}[o.State]
}

// fail is the order after a failure: when to go on, and where.
func (c *Client) fail(o Order, f *Failure) Order {
	now := c.now()
	f.At = now
	if f.accountUnknown {
		c.forgetAccount()
	}
	o.Failure, o.Waiting = f, ""
	seed := o.Permit + o.URL
	switch {
	case f.endsAttempt:
		o.State = Failed
		o.Failures++
		o.Stumbles = 0
		o.Due = now.Add(spread(Backoff(o.Failures), seed))
	case f.Kind == RateLimited:
		o.Stumbles++
		o.Due = now.Add(spread(Backoff(o.Stumbles), seed))
	default:
		o.Stumbles++
		o.Due = now.Add(spread(patience(o.Stumbles), seed))
	}
	if f.Until.After(o.Due) {
		o.Due = f.Until
	}
	return o
}

// wait is the order, due when the authority said, or else after a pause that grows
// with the age of the attempt.
func (c *Client) wait(o Order, retry time.Time, what string) Order {
	now := c.now()
	o.Waiting = what
	o.Due = retry
	if retry.IsZero() {
		o.Due = now.Add(pause(now.Sub(o.Began)))
	}
	return o
}

// pause is how long to wait for something that has been going on for so long.
func pause(since time.Duration) time.Duration {
	return min(max(since/10, time.Second), 30*time.Second)
}
