package strangers_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
)

// newNeighbourhood is the address of the neighbour's backend.
func newNeighbourhood(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body) // the client is who counts
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// neighbour is an ordinary client: it keeps some connections, opens others, and
// never asks twice.
type neighbour struct {
	t    *testing.T
	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex
	took   []time.Duration
	failed []string
}

const (
	neighbours     = 4
	neighbourPause = 25 * time.Millisecond
	// slowest is what a neighbour may be made to wait, 99 times of 100, on a
	// machine that also runs the stranger.
	slowest = 3 * time.Second
	// fewest is how often a neighbour asks at least.
	fewest = 100
)

// newNeighbour asks from now on, until end. It has been answered once when this
// returns.
func (s *site) newNeighbour() *neighbour {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n := &neighbour{t: s.T, stop: cancel}
	fairway.Eventually(s, patience, func(ctx context.Context) error {
		return ask(ctx, &http.Transport{DialContext: dial, DisableKeepAlives: true})
	})
	for range neighbours {
		n.done.Go(func() { n.work(ctx) })
	}
	s.Cleanup(func() { cancel(); n.done.Wait() })
	return n
}

func (n *neighbour) work(ctx context.Context) {
	kept := &http.Transport{DialContext: dial}
	defer kept.CloseIdleConnections()
	own := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	tick := time.NewTicker(neighbourPause)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		transport := kept
		if i%4 == 0 {
			transport = own
		}
		began := time.Now()
		err := ask(context.WithoutCancel(ctx), transport)
		n.note(time.Since(began), err)
	}
}

func (n *neighbour) note(took time.Duration, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.took = append(n.took, took)
	if err != nil {
		n.failed = append(n.failed, fmt.Sprintf("after %s: %v", took.Round(time.Millisecond), err))
	}
}

// hasAsked is nil once there is something to judge by.
func (n *neighbour) hasAsked(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.took) < fewest {
		return fmt.Errorf("the neighbour has asked only %d times", len(n.took))
	}
	return nil
}

// ask sends one request and wants its body back.
func ask(ctx context.Context, transport http.RoundTripper) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// A body that cannot be read twice keeps the transport from asking again.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://neighbour.test/", io.LimitReader(zeros{}, 100))
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

func dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

// undisturbed ends the neighbour, of whom no request may have failed.
func (n *neighbour) undisturbed() {
	n.t.Helper()
	fairway.Eventually(n.t, patience, n.hasAsked)
	n.stop()
	n.done.Wait()
	slices.Sort(n.took)
	p99 := n.took[len(n.took)*99/100]
	n.t.Logf("the neighbour: %d requests, median %s, slowest %s", len(n.took),
		n.took[len(n.took)/2].Round(10*time.Microsecond), n.took[len(n.took)-1].Round(10*time.Microsecond))
	if len(n.failed) > 0 {
		n.t.Errorf("%d requests of the neighbour failed, the first %s", len(n.failed), n.failed[0])
	}
	soak.Promised(n.t, "99 of 100 of them", p99, slowest)
}
