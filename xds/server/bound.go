package server

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Bounded is a listener that closes a connection at once when there are already
// as many in all, or from its address: whoever floods us is alone with that. Use
// Bound.
type Bounded struct {
	net.Listener

	all, ofOne int

	mu     sync.Mutex
	open   map[*counted]struct{}
	from   map[netip.Addr]int // how many are open; those without an address, as on a Unix socket, have the zero address
	closed bool
}

// Bound lets listener have so many connections at a time.
func Bound(listener net.Listener, all, ofOne int) *Bounded {
	return &Bounded{Listener: listener, all: all, ofOne: ofOne, open: map[*counted]struct{}{}, from: map[netip.Addr]int{}}
}

// Accept implements net.Listener.
func (b *Bounded) Accept() (net.Conn, error) {
	for {
		connection, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &counted{Conn: connection, by: b, from: addressOfConnection(connection)}
		if b.enter(c) {
			return c, nil
		}
		_ = connection.Close() // whoever it is, hears nothing
	}
}

// Close implements net.Listener. The connections that are being set up go with
// it: a gRPC server that ends tells nobody before they are through.
func (b *Bounded) Close() error {
	b.cut(func(c *counted) bool { return c.settingUp })
	return b.Listener.Close()
}

// Cut closes the listener and all its connections.
func (b *Bounded) Cut() {
	_ = b.Listener.Close() // it may be closed
	b.cut(func(*counted) bool { return true })
}

// cut closes the connections that are chosen.
func (b *Bounded) cut(isChosen func(*counted) bool) {
	b.mu.Lock()
	b.closed = true
	var chosen []*counted
	for c := range b.open {
		if isChosen(c) {
			chosen = append(chosen, c)
		}
	}
	b.mu.Unlock()
	for _, c := range chosen {
		_ = c.Close()
	}
}

func addressOfConnection(connection net.Conn) netip.Addr {
	tcp, ok := connection.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

func (b *Bounded) enter(c *counted) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.open) >= b.all || (c.from.IsValid() && b.from[c.from] >= b.ofOne) {
		return false
	}
	b.open[c] = struct{}{}
	b.from[c.from]++
	return true
}

func (b *Bounded) exit(c *counted) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.open[c]; !ok {
		return
	}
	delete(b.open, c)
	if b.from[c.from]--; b.from[c.from] == 0 {
		delete(b.from, c.from)
	}
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn

	by        *Bounded
	from      netip.Addr
	settingUp bool // guarded by Bounded.mu
}

// SetDeadline implements net.Conn. A gRPC server sets one while a connection is
// being set up, by a handshake of TLS and one of HTTP/2, and none later.
func (c *counted) SetDeadline(t time.Time) error {
	c.by.mu.Lock()
	c.settingUp = !t.IsZero()
	late := c.settingUp && c.by.closed
	c.by.mu.Unlock()
	if late {
		_ = c.Close()
	}
	return c.Conn.SetDeadline(t)
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.by.exit(c)
	return c.Conn.Close()
}
