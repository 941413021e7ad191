// Package cable is a TCP connection's way from a program to a server, which a test
// can cut, silence and mend: a network that fails between the two, and not they.
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
	listener net.Listener  // nil: it is cut
	silent   chan struct{} // closed when bytes pass again; nil: they do
	open     map[net.Conn]struct{}
	running  sync.WaitGroup
}

// Lay lays one to a server, "host:port". It ends with the test.
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

// gated is what is read of a connection while bytes pass.
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

// Cut ends all connections, and refuses new ones.
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

// Silence has all bytes held back, without a word; connections are still taken.
func (c *Cable) Silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent == nil {
		c.silent = make(chan struct{})
	}
}

// pass has bytes pass.
func (c *Cable) pass() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent != nil {
		close(c.silent)
		c.silent = nil
	}
}

// Mend undoes Cut and Silence: what was held back passes now.
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
