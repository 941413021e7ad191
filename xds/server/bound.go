package server

import (
	"net"
	"net/netip"
	"sync"
)

// Bound is a listener that closes a connection at once when there are already
// as many in all, or from its address: whoever floods us is alone with that.
func Bound(listener net.Listener, all, ofOne int) net.Listener {
	return &bounded{Listener: listener, all: all, ofOne: ofOne, open: map[netip.Addr]int{}}
}

type bounded struct {
	net.Listener

	all, ofOne int

	mu    sync.Mutex
	total int
	open  map[netip.Addr]int // by address; those without one, as on a Unix socket, have the zero address
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		connection, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOfConnection(connection)
		if b.enter(from) {
			return &counted{Conn: connection, leave: sync.OnceFunc(func() { b.exit(from) })}, nil
		}
		_ = connection.Close() // whoever it is, hears nothing
	}
}

func addressOfConnection(connection net.Conn) netip.Addr {
	tcp, ok := connection.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

func (b *bounded) enter(from netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total >= b.all || (from.IsValid() && b.open[from] >= b.ofOne) {
		return false
	}
	b.total++
	b.open[from]++
	return true
}

func (b *bounded) exit(from netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	if b.open[from]--; b.open[from] == 0 {
		delete(b.open, from)
	}
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn

	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}
