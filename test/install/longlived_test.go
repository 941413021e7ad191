package install_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/fairwaynet/fairway/test/fairway"
)

const (
	beat     = 200 * time.Millisecond
	lateBeat = 15 * time.Second // on a machine that is busy otherwise
)

// clock is a backend of long-lived requests: it answers every message of a
// WebSocket, and goes on writing a line to whoever does not speak that.
func clock(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		for range ticks(r.Context()) {
			_, _ = fmt.Fprintln(w, "tick")
			w.(http.Flusher).Flush()
		}
		return
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = socket.CloseNow() }()
	for {
		kind, message, err := socket.Read(r.Context())
		if err != nil || socket.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// lasting is a request that goes on for as long as a test.
type lasting struct {
	what  string
	stop  context.CancelFunc
	ended chan struct{}

	mu    sync.Mutex
	beats int
	err   error
}

// startLasting opens a WebSocket and a streamed response through a gateway.
func startLasting(t *testing.T, host string) []*lasting {
	t.Helper()
	through := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:8080")
	}}}
	all := []*lasting{
		keep("a WebSocket", func(ctx context.Context, beat func()) error { return speak(ctx, through, host, beat) }),
		keep("a stream", func(ctx context.Context, beat func()) error { return listen(ctx, through, host, beat) }),
	}
	for _, l := range all {
		t.Cleanup(func() { l.stop(); <-l.ended })
		fairway.Eventually(t, patience, l.beatsOn(3))
	}
	return all
}

func keep(what string, run func(context.Context, func()) error) *lasting {
	ctx, stop := context.WithCancel(context.Background())
	l := &lasting{what: what, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		err := run(ctx, l.beat)
		l.mu.Lock()
		defer l.mu.Unlock()
		if ctx.Err() == nil {
			l.err = fmt.Errorf("%s ended after %d beats: %w", what, l.beats, err)
		}
	}()
	return l
}

func (l *lasting) beat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beats++
}

// beatsOn is a check for fairway.Eventually: n more beats have come.
func (l *lasting) beatsOn(n int) func(context.Context) error {
	l.mu.Lock()
	before := l.beats
	l.mu.Unlock()
	return func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.beats < before+n {
			return errors.Join(fmt.Errorf("%s has beaten %d times since", l.what, l.beats-before), l.err)
		}
		return nil
	}
}

// survived checks that the request goes on.
func (l *lasting) survived(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	err := l.err
	l.mu.Unlock()
	if err != nil {
		t.Error(err)
		return
	}
	fairway.Eventually(t, patience, l.beatsOn(2))
}

func speak(ctx context.Context, through *http.Client, host string, beats func()) error {
	socket, _, err := websocket.Dial(ctx, "ws://"+host+"/", &websocket.DialOptions{HTTPClient: through})
	if err != nil {
		return err
	}
	defer func() { _ = socket.CloseNow() }()
	for range ticks(ctx) {
		if err := exchange(ctx, socket); err != nil {
			return err
		}
		beats()
	}
	return ctx.Err()
}

// ticks beats until ctx ends.
func ticks(ctx context.Context) iter.Seq[time.Time] {
	return func(beats func(time.Time) bool) {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				if !beats(now) {
					return
				}
			}
		}
	}
}

func exchange(ctx context.Context, socket *websocket.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, lateBeat)
	defer cancel()
	if err := socket.Write(ctx, websocket.MessageText, []byte("tick")); err != nil {
		return err
	}
	_, _, err := socket.Read(ctx)
	return err
}

func listen(ctx context.Context, through *http.Client, host string, beats func()) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		return err
	}
	response, err := through.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		beats()
	}
	return fmt.Errorf("status %s: the body ended: %w", response.Status, lines.Err())
}
