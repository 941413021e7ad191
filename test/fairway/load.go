package fairway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/pace"
	"github.com/fairwaynet/fairway/test/soak"
)

// Load sends requests for one path of one host at an even rate. Most requests
// reuse a connection, some use a new one; half of them have a body. It never
// retries, so that it counts what a client would see.
type Load struct {
	Host, Path string
	Rate       float64 // requests a second

	t        testing.TB
	timeline *Timeline
	stop     context.CancelFunc
	ended    chan struct{}

	mu    sync.Mutex
	tally Tally
}

// Tally is the result of a Load.
type Tally struct {
	Sent     int
	Answered map[string]int // requests with status 200, by backend
	Failures int
	Failed   []Failure // the first failures
	Reopened int       // connections that had to be reopened
	Slowest  time.Duration
	Took     time.Duration
}

// Failure is a request without the answer 200.
type Failure struct {
	At   time.Time
	What string
}

// usualRate is how many requests a second a Load sends that is given no other rate.
var usualRate = soak.Pick(200.0, 500.0)

// The bounds of a Load.
const (
	workers       = 24
	ownConnection = 6 // every sixth request of a worker
	longestLoad   = 3 * time.Minute
	maxFailures   = 20 // remembered in full
	slowRequest   = 10 * time.Second
)

// StartLoad sends requests until Stop, or the end of the test.
func (r *Installation) StartLoad(t testing.TB, host, path string) *Load {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), longestLoad)
	l := &Load{
		Host: host, Path: path, Rate: cmp.Or(r.rate, usualRate),
		t: t, timeline: &r.Timeline, stop: cancel, ended: make(chan struct{}),
		tally: Tally{Answered: map[string]int{}},
	}
	go func() { defer close(l.ended); l.run(ctx) }()
	t.Cleanup(func() { cancel(); <-l.ended })
	return l
}

func (l *Load) run(ctx context.Context) {
	took := pace.Run(ctx, l.Rate, workers, func(due <-chan int) { l.work(ctx, due) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Took = took
}

// work sends one request whenever one is due.
func (l *Load) work(ctx context.Context, due <-chan int) {
	kept := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 1}
	defer kept.CloseIdleConnections()
	own := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	n, opened := 0, 0
	for range due {
		n++
		transport, connection := kept, &connection{}
		if n%ownConnection == 0 {
			transport = own
		}
		if n%2 == 0 {
			l.send(ctx, transport, connection, http.MethodGet, "")
		} else {
			l.send(ctx, transport, connection, http.MethodPost, "a body")
		}
		if transport == kept && !connection.reused {
			if opened++; opened > 1 {
				l.reopened()
			}
		}
	}
}

// connection counts how a request used connections.
type connection struct {
	times  int // connections that were taken
	reused bool
}

func (l *Load) reopened() {
	l.timeline.Note("a client had to connect again")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Reopened++
}

// send sends one request. The end of the load does not interrupt it.
func (l *Load) send(ctx context.Context, transport *http.Transport, c *connection, method, body string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowRequest)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		c.times++
		c.reused = got.Reused
	}})
	began := time.Now()
	backend, err := exchange(ctx, transport, method, "http://"+l.Host+l.Path, body)
	if err == nil && c.times > 1 {
		err = errors.New("the connection was closed under the request, which was sent again")
	}
	if err != nil {
		err = fmt.Errorf("%s %s%s (connection reused: %t, after %s): %w",
			method, l.Host, l.Path, c.reused, time.Since(began).Round(time.Millisecond), err)
	}
	l.count(began, backend, err)
}

// exchange sends one request and reads its answer to the last byte.
func exchange(ctx context.Context, transport *http.Transport, method, url, body string) (backend string, err error) {
	a, err := do(ctx, transport, method, url, strings.NewReader(body))
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", a.Status, strings.TrimSpace(a.Body))
	}
	return a.Header.Get("Backend"), err
}

func (l *Load) count(began time.Time, backend string, err error) {
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Sent++
	l.tally.Slowest = max(l.tally.Slowest, took)
	if err == nil {
		l.tally.Answered[backend]++
		return
	}
	l.timeline.Note("a client got: %v", err)
	if l.tally.Failures++; l.tally.Failures <= maxFailures {
		l.tally.Failed = append(l.tally.Failed, Failure{At: began.Add(took), What: err.Error()})
	}
}

// Tally is the result so far.
func (l *Load) Tally() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	tally := l.tally
	tally.Answered = maps.Clone(tally.Answered)
	tally.Failed = slices.Clone(tally.Failed)
	return tally
}

// Reaches is a check for Eventually: since its first call the backend has
// answered n more requests.
func (l *Load) Reaches(backend string, n int) func(context.Context) error {
	before := -1
	return func(context.Context) error {
		now := l.Tally().Answered[backend]
		if before < 0 {
			before = now
		}
		if now < before+n {
			return fmt.Errorf("the load on %s%s has reached backend %q %d times, want %d", l.Host, l.Path, backend, now-before, n)
		}
		return nil
	}
}

// Unharmed is a check for Throughout: no request has failed so far.
func (l *Load) Unharmed(context.Context) error {
	if tally := l.Tally(); tally.Failures > 0 {
		return fmt.Errorf("%d of %d requests failed, first %v", tally.Failures, tally.Sent, tally.Failed[0])
	}
	return nil
}

// Stop ends the load and returns what became of it.
func (l *Load) Stop() Tally {
	l.stop()
	<-l.ended
	return l.Tally()
}

// StopClean is Stop for a load without failures, whose connections stay open. The
// test fails with an explanation if a request failed or the connections were
// closed.
func (l *Load) StopClean() Tally {
	l.t.Helper()
	tally := l.Stop()
	l.t.Logf("load on %s%s: %d requests in %s, slowest %s, by backend %v",
		l.Host, l.Path, tally.Sent, tally.Took.Round(time.Millisecond), tally.Slowest.Round(time.Millisecond), tally.Answered)
	if tally.Sent == 0 {
		l.t.Errorf("the load on %s%s sent no request", l.Host, l.Path)
	}
	// A client that stalls for 50 ms may drop a connection by itself; a draining
	// listener closes all of them.
	if tally.Reopened > workers/2 {
		l.t.Errorf("%d connections were closed, of %d clients", tally.Reopened, workers)
	}
	if tally.Failures > 0 {
		l.t.Errorf("%d of %d requests failed; around the first:\n%s", tally.Failures, tally.Sent,
			l.timeline.Around(tally.Failed[0].At, 500*time.Millisecond, 200*time.Millisecond))
		for _, f := range tally.Failed {
			l.t.Logf("%s %s", f.At.Format("15:04:05.000000"), f.What)
		}
	}
	return tally
}
