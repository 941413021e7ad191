package order

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/fairwaynet/fairway/tls/acme"
)

// How many may be at an authority at a time. One that has not answered yet, or did
// not when it was last asked, is asked by one at a time.
const (
	atDirectory = 8
	atIssuer    = 4 // of those, for one Issuer
	// retryTurn is when one that waits for its turn looks again though nobody
	// has woken it; one that has not come for forgetTurn has none to wait for.
	retryTurn  = 10 * time.Second
	forgetTurn = time.Minute
)

// Limiter is who talks to which authority. What takes long there, or is never
// answered, costs those alone who want it: an authority has so many of our workers
// and no more, and fewer while it does not answer. Then nobody asks it for a while,
// which all who want something of it share.
//
// An authority is known by the URL of its directory, since several Issuers may
// have the same. Those of one Issuer take turns, so that one with many orders does
// not hold up another, and an Issuer whose own DNS server hangs not the rest.
// The zero value is ready but for the clock.
type Limiter struct {
	Now func() time.Time

	mu          sync.Mutex
	directories map[string]*lane
	issuers     map[string]*lane
}

// lane is where some may be at a time.
type lane struct {
	busy    int
	answers bool // it did, when it was last asked

	// Of a directory alone.
	failures int
	pause    time.Time // nobody asks before
	why      string    // it is asked by nobody
	line     []*waiter // those who wait, in order
}

// waiter is one that waits for a turn.
type waiter struct {
	who    any
	issuer *lane
	seen   time.Time
	wake   func()
}

// Requester is where somebody wants a turn.
type Requester struct{ Issuer, Directory string }

// Permit is one that somebody has. End it.
type Permit struct {
	limiter           *Limiter
	directory, issuer *lane
	seed              string
}

// Denial says why it is nobody's turn.
type Denial struct {
	// Failing is why the authority is not asked now; empty: others are there.
	// Failures is for how many times in a row it has not answered.
	Failing  string
	Failures int
	// Until is when to ask again.
	Until time.Time
}

// Take returns a turn for who, or nil and the reason. A caller without a turn keeps
// its place in the line, and wake is called when its turn may have come; wake may be
// nil.
func (t *Limiter) Take(who any, at Requester, wake func()) (*Permit, Denial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.Now()
	directory, issuer := t.laneOf(&t.directories, at.Directory), t.laneOf(&t.issuers, at.Issuer)
	if now.Before(directory.pause) {
		return nil, directory.denial()
	}
	directory.line = slices.DeleteFunc(directory.line, func(w *waiter) bool {
		return w.who != who && now.Sub(w.seen) > forgetTurn
	})
	place := slices.IndexFunc(directory.line, func(w *waiter) bool { return w.who == who })
	if place < 0 {
		place = len(directory.line)
		directory.line = append(directory.line, &waiter{who: who})
	}
	own := directory.line[place]
	own.issuer, own.seen, own.wake = issuer, now, wake
	if !slices.Contains(directory.next(), own) {
		return nil, Denial{Until: now.Add(retryTurn)}
	}
	directory.line = slices.Delete(directory.line, place, place+1)
	return t.give(at.Directory, directory, issuer), Denial{}
}

// Try is Take for one that does not wait.
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

// free is for how many there is room.
func (d *lane) free(most int) int {
	if !d.answers {
		most = 1
	}
	return max(most-d.busy, 0)
}

// next are those in the line whose turn it is.
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

// Leave takes who from the lines: it wants no turn any more.
func (t *Limiter) Leave(who any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range t.directories {
		d.line = slices.DeleteFunc(d.line, func(w *waiter) bool { return w.who == who })
	}
}

// Outcome is what became of a turn.
type Outcome struct {
	// Authority is what went wrong there; nil: nothing. What is nobody's fault but
	// the request's is nothing.
	Authority error
	// Own says that what else the Issuer needs, as its DNS server, did not do what
	// it should.
	Own bool
	// Idle says that nobody was asked, so that nothing is known.
	Idle bool
}

// End gives the turn back, and says what is known now.
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
		return // others were there at the same time, and have said so
	}
	d.failures++
	d.why = failure.Text
	d.pause = now.Add(acme.Patience(d.failures, seed))
	if failure.Until.After(d.pause) {
		d.pause = failure.Until
	}
}

// awayOf is the failure of an authority that does not answer, or says that it is
// out of order; nil: it is there.
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
