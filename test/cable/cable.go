// Package cable carries TCP connections from a program to a server. A test can
// cut, silence and mend it, to simulate a failing network between two healthy
// ends.
package cable

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/freeport"
)

// Cable carries connections to one server.
type Cable struct {
	// At is where programs connect.
	At netip.AddrPort

	to string // host:port of the server

	mu       sync.Mutex
	listener net.Listener  // nil: the cable is cut
	silent   chan struct{} // closed when bytes pass again; nil: bytes pass
	open     map[net.Conn]struct{}
	running  sync.WaitGroup
}

// Lay lays a cable to a server, "host:port". It ends with the test.
func Lay(t testing.TB, to string) *Cable {
	t.Helper()
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), freeport.Get(t))
	c := &Cable{At: at, to: to, open: map[net.Conn]struct{}{}}
	if err := c.listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Cut()
		c.running.Wait()
	})
	return c
}

func (c *Cable) listen(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.At.String())
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listener = listener
	c.running.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			c.running.Go(func() { c.carry(context.WithoutCancel(ctx), from) })
		}
	})
	return nil
}

// carry carries one connection until either end closes it.
func (c *Cable) carry(ctx context.Context, from net.Conn) {
	to, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", c.to)
	if err != nil {
		_ = from.Close()
		return
	}
	c.mu.Lock()
	if c.listener == nil {
		c.mu.Unlock()
		_, _ = from.Close(), to.Close()
		return
	}
	c.open[from], c.open[to] = struct{}{}, struct{}{}
	c.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], &gated{Conn: way[1], cable: c})
			_, _ = from.Close(), to.Close()
		})
	}
	both.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, from)
	delete(c.open, to)
}

// gated reads from a connection, but only while bytes pass.
type gated struct {
	net.Conn

	cable *Cable
}

// Read implements io.Reader.
func (g *gated) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.cable.mu.Lock()
	silent := g.cable.silent
	g.cable.mu.Unlock()
	if silent != nil && err == nil {
		<-silent
	}
	return n, err
}

// Cut closes all connections and refuses new ones.
func (c *Cable) Cut() {
	c.pass()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener != nil {
		_ = c.listener.Close()
		c.listener = nil
	}
	for conn := range c.open {
		_ = conn.Close()
	}
}

// Silence holds back all bytes. It still accepts connections, and closes none.
func (c *Cable) Silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent == nil {
		c.silent = make(chan struct{})
	}
}

// pass lets bytes pass.
func (c *Cable) pass() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent != nil {
		close(c.silent)
		c.silent = nil
	}
}

// Mend undoes Cut and Silence. Bytes that were held back pass now.
func (c *Cable) Mend(t testing.TB) {
	t.Helper()
	c.pass()
	c.mu.Lock()
	cut := c.listener == nil
	c.mu.Unlock()
	if !cut {
		return
	}
	if err := c.listen(t.Context()); err != nil {
		t.Fatal(err)
	}
}
