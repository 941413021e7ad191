// Package reach keeps to an API server that is away for a while.
//
// client-go's reflectors wait longer after each failure, up to a minute at last,
// so that after two minutes without an API server a controller could be blind for
// one more. Here a watch that finds nobody to talk to stays and tries again each
// second, as long as its caller wants; what fails in any other way is the
// caller's. It is no load: the API server hears nothing until it is there.
package reach

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

const (
	// dialling is how long a connection may take to be made. An address that
	// swallows packets is asked again with a new one, which the kernel sends at
	// once, and not after the ever longer pauses of a connection that waits.
	dialling  = 5 * time.Second
	keepAlive = 30 * time.Second
	// pause between two tries, and up to as much again, so that those who lost
	// the same server do not come back all at once.
	pause = 500 * time.Millisecond
)

// Patiently has the watches of the clients that are made of config wait for the
// API server. It says in log when it cannot be reached, and when it can again.
func Patiently(config *rest.Config, log logr.Logger) {
	config.Dial = (&net.Dialer{Timeout: dialling, KeepAlive: keepAlive}).DialContext
	absence := &absence{log: log}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &patient{next: next, absence: absence} })
}

// patient is a RoundTripper whose watches wait.
type patient struct {
	next    http.RoundTripper
	absence *absence
}

// RoundTrip implements http.RoundTripper.
func (p *patient) RoundTrip(request *http.Request) (*http.Response, error) {
	for {
		response, err := p.next.RoundTrip(request)
		if err == nil {
			p.absence.ends()
			return response, nil
		}
		if !watches(request) || !unreachable(err) || request.Context().Err() != nil {
			return nil, err
		}
		p.absence.begins(err)
		if sleep(request.Context(), pause+rand.N(pause)) != nil {
			return nil, err
		}
	}
}

// WrappedRoundTripper lets client-go find the transport inside.
func (p *patient) WrappedRoundTripper() http.RoundTripper { return p.next }

// watches says whether a request is one of a reflector: it watches, or lists
// what is watched then.
func watches(request *http.Request) bool {
	if request.Method != http.MethodGet {
		return false
	}
	query, err := url.ParseQuery(request.URL.RawQuery)
	return err == nil && (query.Get("watch") == "true" || query.Has("resourceVersion"))
}

// unreachable says whether nobody answered, or who answered went away. A server
// that answers with a certificate that is not trusted is somebody else.
func unreachable(err error) bool {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Op == "dial" || op.Op == "read" || op.Op == "write" // and not an alert of TLS
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
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

// absence is the time in which the API server cannot be reached. It is told
// once, however many watches wait.
type absence struct {
	log logr.Logger

	mu    sync.Mutex
	since time.Time // zero: there is none
}

func (a *absence) begins(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since.IsZero() {
		a.since = time.Now()
		a.log.Info("the API server cannot be reached: what is served stays, and no change is seen; it is tried again each second", "cause", err.Error())
	}
}

func (a *absence) ends() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.since.IsZero() {
		a.log.Info("the API server is reached again", "after", time.Since(a.since).Round(time.Second).String())
		a.since = time.Time{}
	}
}
