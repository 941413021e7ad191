package report

import (
	"context"
	"sync"
	"time"

	"github.com/fairwaynet/fairway/api/problem"
)

// gap is how far back a new leader looks: no replica has told of what appeared
// while there was no leader. It is longer than a Lease can be without a holder.
const gap = time.Minute

// LeaderOnly is a Subscriber that passes Problems on to another one while this
// replica leads. Every replica finds the same Problems, so one teller is enough. A
// new leader tells of the Problems that appeared within the last moment, but of no
// older ones.
type LeaderOnly struct {
	To Subscriber
	// Now is the clock, time.Now by default.
	Now func() time.Time

	mu     sync.Mutex
	leads  bool
	untold map[problem.Problem]time.Time // that this replica has not told of, by when they appeared
}

// Lead passes Problems on for one term: it is a task of the leader.
func (l *LeaderOnly) Lead(ctx context.Context) error {
	l.begin(ctx)
	<-ctx.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leads = false
	return nil
}

func (l *LeaderOnly) begin(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leads = true
	for p, since := range l.untold {
		if l.now().Sub(since) < gap {
			l.To.Appeared(ctx, p)
		}
	}
	l.untold = nil
}

// Appeared implements Subscriber.
func (l *LeaderOnly) Appeared(ctx context.Context, p problem.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leads {
		l.To.Appeared(ctx, p)
		return
	}
	if l.untold == nil {
		l.untold = map[problem.Problem]time.Time{}
	}
	l.untold[p] = l.now()
}

// Resolved implements Subscriber.
func (l *LeaderOnly) Resolved(ctx context.Context, p problem.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.untold, p)
	if l.leads {
		l.To.Resolved(ctx, p)
	}
}

func (l *LeaderOnly) now() time.Time {
	if l.Now == nil {
		return time.Now()
	}
	return l.Now()
}
