// Package reconnect keeps trying to reach an API server that is away for a while.
//
// client-go's reflectors wait longer after each failure, in the end up to a
// minute. So after two minutes without an API server, a controller could be blind
// for one more. Here a watch that cannot connect stays and tries again each
// second, as long as its caller wants. That is no load: there is no server to bear
// it. Any other failure goes to the caller, which decides how long to wait. A
// server that answers badly must not get requests from everybody each second.
package reconnect

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

// pause is the time between two tries. Up to as much again is added, so that
// clients that lost the same server do not come back all at once.
const pause = 500 * time.Millisecond

// RetryWatches makes the watches of clients made from config wait for the API
// server. It logs when the server cannot be reached, and when it can again.
func RetryWatches(config *rest.Config, log logr.Logger) {
	absence := &outage{log: log}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &retryingTransport{next: next, absence: absence}
	})
}

// retryingTransport is a RoundTripper whose watches wait.
type retryingTransport struct {
	next    http.RoundTripper
	absence *outage
}

// RoundTrip implements http.RoundTripper.
func (p *retryingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := p.next.RoundTrip(request)
	if err == nil || !watches(request) || !unreachable(err) {
		return response, err
	}
	p.absence.begins(err)
	for unreachable(err) && sleep(request.Context(), pause+rand.N(pause)) == nil {
		response, err = p.next.RoundTrip(request)
	}
	p.absence.ends(err)
	return response, err
}

// WrappedRoundTripper lets client-go find the transport inside.
func (p *retryingTransport) WrappedRoundTripper() http.RoundTripper { return p.next }

// watches reports whether a request is one of a reflector: a watch, or the list
// that precedes it.
func watches(request *http.Request) bool {
	if request.Method != http.MethodGet {
		return false
	}
	query, err := url.ParseQuery(request.URL.RawQuery)
	return err == nil && (query.Get("watch") == "true" || query.Has("resourceVersion"))
}

// unreachable reports whether no connection could be made to the server, or to the
// proxy before it.
func unreachable(err error) bool {
	for op := (*net.OpError)(nil); errors.As(err, &op); err = op.Err {
		if op.Op == "dial" {
			return true
		}
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// outage is a time in which watches wait. It is logged once, however many wait:
// when the first begins, and when the last ends.
type outage struct {
	log logr.Logger

	mu      sync.Mutex
	waiting int
	since   time.Time
}

func (a *outage) begins(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting++; a.waiting == 1 {
		a.since = time.Now()
		a.log.Info("the API server cannot be reached: what is served stays, and no change is seen; it is tried again each second", "cause", err.Error())
	}
}

// ends takes the result of the last try of a watch that waited.
func (a *outage) ends(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting--; a.waiting == 0 && !unreachable(err) {
		a.log.Info("the API server can be reached again", "after", time.Since(a.since).Round(time.Second).String())
	}
}
