// Package apireader asks the API server itself before a reconciler with a stale
// cache would break something that works.
//
// It does not decide what breaks (controllers/edge/ingress,
// controllers/edge/endpoints). Its invariants: an answer is never older than what
// the caller had seen; a question about a namespace takes a handful of requests,
// however much is missing there, and their rate is bounded; and a caller that
// would have to wait is told to come back, so that most workers are always free
// for others.
package apireader

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// asking is how many callers ask at once, each about another namespace. The
	// other workers of a controller stay free (assembly.workers).
	asking = 2
	// Up to few objects of a namespace are each read by name; for more, the
	// namespace is listed.
	few = 4
	// A namespace may get burst requests at once, and rate requests a second over
	// time.
	burst = 20
	rate  = 5
	// spacing is the time between two callers that were told to come back.
	// longestWait is the most that a caller is told.
	spacing     = 50 * time.Millisecond
	longestWait = 5 * time.Second
	// memory is how long an answer is good for, unless an event comes first.
	memory = 10 * time.Second
	// patience is how long a request may take.
	patience = 5 * time.Second
)

// LaterError says that nothing was asked, and when to come back.
type LaterError struct{ After time.Duration }

// Error implements error.
func (l *LaterError) Error() string { return "others ask the API server now" }

// Reader reads for one controller. Use New. Its methods are safe for concurrent
// use.
type Reader struct {
	reader client.Reader
	now    func() time.Time

	mu         sync.Mutex
	asking     int
	requests   int // so far
	next       time.Time
	namespaces map[string]*namespace
}

// New makes a Reader of the API server that reader reads. now is the clock; nil:
// time.Now.
func New(reader client.Reader, now func() time.Time) *Reader {
	if now == nil {
		now = time.Now
	}
	return &Reader{reader: reader, now: now, namespaces: map[string]*namespace{}}
}

// namespace is what was asked about one namespace.
type namespace struct {
	busy    bool
	left    float64   // requests that may be made at once
	used    time.Time // time of the last use; left is as of then
	answers *answers  // nil: none that is good
}

// enter lets the caller ask about a namespace until it calls leave. Until then no
// other caller may. It returns the answers that are still good; the caller may add
// to them.
func (a *Reader) enter(name string) (*answers, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	in := a.namespaces[name]
	if in == nil {
		a.forgetOld(now)
		in = &namespace{left: burst, used: now}
		a.namespaces[name] = in
	}
	if in.busy || a.asking >= asking {
		return nil, a.later(now)
	}
	if in.answers == nil || now.Sub(in.answers.begun) > memory {
		in.answers = newAnswers(now)
	}
	in.busy = true
	in.left, in.used = min(in.left+rate*now.Sub(in.used).Seconds(), burst), now
	a.asking++
	return in.answers, nil
}

// later returns when to come back: each caller at another time.
func (a *Reader) later(now time.Time) error {
	if a.next.Before(now) {
		a.next = now
	}
	a.next = a.next.Add(spacing)
	return &LaterError{min(a.next.Sub(now), longestWait)}
}

func (a *Reader) leave(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.namespaces[name].busy = false
	a.asking--
}

// forgetOld drops namespaces that nobody has asked about for long.
func (a *Reader) forgetOld(now time.Time) {
	for name, in := range a.namespaces {
		if !in.busy && now.Sub(in.used) > memory {
			delete(a.namespaces, name)
		}
	}
}

// Forget says that a watch has seen a change in a namespace: earlier answers about
// it are no longer good. Call it before the keys of the change are queued.
func (a *Reader) Forget(name string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if in := a.namespaces[name]; in != nil {
		in.answers = nil
	}
}

// request makes a request about a namespace, if the budget allows it.
func (a *Reader) request(ctx context.Context, name string, do func(context.Context) error) error {
	if err := a.spend(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return do(ctx)
}

// spend takes a request from the budget of a namespace.
func (a *Reader) spend(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.namespaces[name]
	if in.left < 1 {
		return &LaterError{time.Duration((1 - in.left) / rate * float64(time.Second))}
	}
	in.left--
	a.requests++
	return nil
}

// list reads the objects of a kind in a namespace.
func (a *Reader) list(ctx context.Context, name string, list client.ObjectList, options ...client.ListOption) error {
	return a.request(ctx, name, func(ctx context.Context) error {
		if err := a.reader.List(ctx, list, append(options, client.InNamespace(name))...); err != nil {
			return fmt.Errorf("ask for %T of namespace %s: %w", list, name, err)
		}
		return nil
	})
}
