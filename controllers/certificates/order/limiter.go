package order

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/fairwaynet/fairway/tls/acme"
)

// The most permits at a time. An authority that has not answered yet, or did not
// answer when last asked, gets one permit at a time.
const (
	atDirectory = 8
	atIssuer    = 4 // of these, for one Issuer
	// retryAfter is when a waiter looks again although nothing has woken it. A
	// waiter that has not come back for forgetAfter loses its place.
	retryAfter  = 10 * time.Second
	forgetAfter = time.Minute
)

// Limiter decides who may talk to which authority. An authority that is slow, or
// never answers, costs only the requests that need it: it gets a bounded number of
// our workers, and only one while it does not answer. After a failure nobody asks
// it for a while; all requests for it share that pause.
//
// An authority is known by the URL of its directory, because several Issuers may
// share it. Permits are limited for each Issuer as well. So an Issuer with many
// orders does not hold up another, and neither does one whose own DNS server
// hangs. The zero value is ready once Now is set.
type Limiter struct {
	Now func() time.Time

	mu          sync.Mutex
	directories map[string]*lane
	issuers     map[string]*lane
}

// lane bounds how many permits are out at a time, for a directory or for an
// Issuer.
type lane struct {
	busy    int
	answers bool // it answered when it was last asked

	// Only of a directory.
	failures int
	pause    time.Time // no permits before
	why      string    // why there are none
	line     []*waiter // of those that wait, in order
}

// waiter waits for a permit.
type waiter struct {
	who    any
	issuer *lane
	seen   time.Time
	wake   func()
}

// Requester is the Issuer and the authority for which a permit is wanted.
type Requester struct{ Issuer, Directory string }

// Permit allows its holder to talk to an authority. Call End when done.
type Permit struct {
	limiter           *Limiter
	directory, issuer *lane
	seed              string
}

// Denial says why there is no permit.
type Denial struct {
	// Failing is why the authority is not asked now; empty: others hold all its
	// permits. Failures is how many times in a row it has not answered.
	Failing  string
	Failures int
	// Until is when to ask for a permit again.
	Until time.Time
}

// Take returns a permit for who, or nil and the reason. A caller without a permit
// keeps its place in the line. wake, which may be nil, is called when a permit may
// be free.
func (t *Limiter) Take(who any, at Requester, wake func()) (*Permit, Denial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.Now()
	directory, issuer := t.laneOf(&t.directories, at.Directory), t.laneOf(&t.issuers, at.Issuer)
	if now.Before(directory.pause) {
		return nil, directory.denial()
	}
	directory.line = slices.DeleteFunc(directory.line, func(w *waiter) bool {
		return w.who != who && now.Sub(w.seen) > forgetAfter
	})
	place := slices.IndexFunc(directory.line, func(w *waiter) bool { return w.who == who })
	if place < 0 {
		place = len(directory.line)
		directory.line = append(directory.line, &waiter{who: who})
	}
	own := directory.line[place]
	own.issuer, own.seen, own.wake = issuer, now, wake
	if !slices.Contains(directory.next(), own) {
		return nil, Denial{Until: now.Add(retryAfter)}
	}
	directory.line = slices.Delete(directory.line, place, place+1)
	return t.give(at.Directory, directory, issuer), Denial{}
}

// Try is Take for a caller that does not wait.
func (t *Limiter) Try(at Requester) (*Permit, Denial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.Now()
	directory, issuer := t.laneOf(&t.directories, at.Directory), t.laneOf(&t.issuers, at.Issuer)
	switch {
	case now.Before(directory.pause):
		return nil, directory.denial()
	case len(directory.next()) > 0, directory.free(atDirectory) == 0, issuer.free(atIssuer) == 0:
		return nil, Denial{Until: now.Add(time.Second)}
	}
	return t.give(at.Directory, directory, issuer), Denial{}
}

func (t *Limiter) give(seed string, directory, issuer *lane) *Permit {
	directory.busy++
	issuer.busy++
	return &Permit{limiter: t, directory: directory, issuer: issuer, seed: seed}
}

func (d *lane) denial() Denial {
	return Denial{Failing: d.why, Failures: d.failures, Until: d.pause}
}

func (t *Limiter) laneOf(lanes *map[string]*lane, name string) *lane {
	d := (*lanes)[name]
	if d == nil {
		if *lanes == nil {
			*lanes = map[string]*lane{}
		}
		d = &lane{}
		(*lanes)[name] = d
	}
	return d
}

// free returns how many more permits there are room for.
func (d *lane) free(most int) int {
	if !d.answers {
		most = 1
	}
	return max(most-d.busy, 0)
}

// next returns the waiters that may have a permit now.
func (d *lane) next() []*waiter {
	var next []*waiter
	taken := map[*lane]int{}
	for _, w := range d.line {
		if len(next) >= d.free(atDirectory) {
			break
		}
		if taken[w.issuer] < w.issuer.free(atIssuer) {
			taken[w.issuer]++
			next = append(next, w)
		}
	}
	return next
}

// Leave takes who out of the lines: it wants no permit any more.
func (t *Limiter) Leave(who any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range t.directories {
		d.line = slices.DeleteFunc(d.line, func(w *waiter) bool { return w.who == who })
	}
}

// Outcome is what came of a permit.
type Outcome struct {
	// Authority is what went wrong at the authority; nil: nothing. A fault of the
	// request alone does not count.
	Authority error
	// Own says that something else which the Issuer needs failed, such as its DNS
	// server.
	Own bool
	// Idle says that the authority was not asked, so nothing is known.
	Idle bool
}

// End gives the permit back, with what was learned.
func (t *Permit) End(o Outcome) {
	limiter := t.limiter
	limiter.mu.Lock()
	t.directory.busy--
	t.issuer.busy--
	if !o.Idle {
		t.issuer.answers = !o.Own
		t.directory.learn(o.Authority, limiter.Now(), t.seed)
	}
	var wakes []func()
	for _, w := range t.directory.next() {
		if w.wake != nil {
			wakes = append(wakes, w.wake)
		}
	}
	limiter.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
}

// learn notes whether an authority answers.
func (d *lane) learn(err error, now time.Time, seed string) {
	failure := awayOf(err)
	if failure == nil {
		d.answers, d.failures, d.pause, d.why = true, 0, time.Time{}, ""
		return
	}
	d.answers = false
	if now.Before(d.pause) {
		return // others were asking at the same time, and have noted it
	}
	d.failures++
	d.why = failure.Text
	d.pause = now.Add(acme.Patience(d.failures, seed))
	if failure.Until.After(d.pause) {
		d.pause = failure.Until
	}
}

// awayOf returns the failure of an authority that does not answer, or says that it
// is out of order; nil: it answers.
func awayOf(err error) *acme.Failure {
	var failure *acme.Failure
	switch {
	case errors.As(err, &failure) && failure.Away():
		return failure
	case errors.Is(err, context.DeadlineExceeded):
		return &acme.Failure{Text: "the issuer did not answer in time"}
	}
	return nil
}
