package strangers_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/gateway"
)

const (
	// crowd is how many connections do nothing, and beyond how many want to.
	crowd, beyond = 10_000, 500
	// room is what there is for others.
	room = 16
	// spare is what this process and the gateway need besides.
	spare = 500
)

// connections are those that a test holds.
type connections struct {
	mu  sync.Mutex
	all []net.Conn
}

// dial opens one from an address of this machine.
func (c *connections) dial(from string) (net.Conn, error) { return c.dialAt(from, address) }

func (c *connections) dialAt(from, to string) (net.Conn, error) {
	conn, err := connectTo(from, to)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, conn)
	return conn, nil
}

func (c *connections) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.all {
		conn.Close()
	}
	c.all = nil
}

// raiseFiles lets this process, and Envoy after it, have as many connections.
func raiseFiles(t *testing.T, files uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= files {
		return
	}
	limit.Cur, limit.Max = files, max(files, limit.Max)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("this test needs %d open files: %v", files, err)
	}
}

// TestIdleConnections holds as many connections as there may be and tries to
// open more, which are refused. Who was there before is served all the same, and
// newcomers are after a while: who does nothing loses his connections.
func TestIdleConnections(t *testing.T) {
	raiseFiles(t, crowd+beyond+spare)
	s := newSite(t, options{bootstrap: func(b *gateway.Bootstrap) { b.MaxConnections = crowd + room }})
	before := s.rss()
	n := s.newNeighbour()
	kept := &http.Transport{DialContext: dial}
	defer kept.CloseIdleConnections()
	if err := ask(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	held := &connections{}
	defer held.closeAll()
	s.hold(held, "127.2.0.", crowd)
	fairway.Eventually(t, patience, s.has(crowd))
	s.grown(before, 256*mib)
	n.undisturbed()

	s.hold(held, "127.3.0.", beyond)
	if open, err := s.envoy.Admin().Connections(t.Context()); err != nil || open > crowd+room {
		t.Errorf("%d connections are open, %v; want at most %d", open, err, crowd+room)
	}
	if err := ask(t.Context(), kept); err != nil {
		t.Errorf("who was there before: %v", err)
	}
	// The crowd stays, and loses connections because it does nothing with them.
	began := time.Now()
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		return ask(ctx, &http.Transport{DialContext: dial, DisableKeepAlives: true})
	})
	t.Logf("a newcomer was served after %s", time.Since(began).Round(time.Millisecond))
	s.newNeighbour().undisturbed()
}

// hold opens connections that do nothing.
func (s *site) hold(all *connections, network string, count int) {
	s.Helper()
	for i := range count {
		if _, err := all.dial(fmt.Sprintf("%s%d", network, i%100+1)); err != nil {
			s.Fatalf("connection %d: %v", i, err)
		}
	}
}

// has is a check for Eventually: that many connections are open.
func (s *site) has(connections uint64) func(context.Context) error {
	return func(ctx context.Context) error {
		open, err := s.envoy.Admin().Connections(ctx)
		if err == nil && open < connections {
			err = fmt.Errorf("%d connections are open, want %d", open, connections)
		}
		return err
	}
}
