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
type LimitedListener struct {
	net.Listener

	maxTotal, maxPerAddress int

	mu         sync.Mutex
	open       map[*limitedConn]struct{}
	perAddress map[netip.Addr]int // how many are open; those without an address, as on a Unix socket, have the zero address
	closed     bool
}

// Bound lets listener have so many connections at a time.
func LimitListener(listener net.Listener, all, ofOne int) *LimitedListener {
	return &LimitedListener{Listener: listener, maxTotal: all, maxPerAddress: ofOne, open: map[*limitedConn]struct{}{}, perAddress: map[netip.Addr]int{}}
}

// Accept implements net.Listener.
func (b *LimitedListener) Accept() (net.Conn, error) {
	for {
		connection, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &limitedConn{Conn: connection, listener: b, from: addressOfConnection(connection)}
		if b.add(c) {
			return c, nil
		}
		_ = connection.Close() // whoever it is, hears nothing
	}
}

// Close implements net.Listener. The connections that are being set up go with
// it: a gRPC server that ends tells nobody before they are through.
func (b *LimitedListener) Close() error {
	b.closeWhere(func(c *limitedConn) bool { return c.settingUp })
	return b.Listener.Close()
}

// Cut closes the listener and all its connections.
func (b *LimitedListener) CloseAll() {
	_ = b.Listener.Close() // it may be closed
	b.closeWhere(func(*limitedConn) bool { return true })
}

// cut closes the connections that are chosen.
func (b *LimitedListener) closeWhere(isChosen func(*limitedConn) bool) {
	b.mu.Lock()
	b.closed = true
	var chosen []*limitedConn
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

func (b *LimitedListener) add(c *limitedConn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.open) >= b.maxTotal || (c.from.IsValid() && b.perAddress[c.from] >= b.maxPerAddress) {
		return false
	}
	b.open[c] = struct{}{}
	b.perAddress[c.from]++
	return true
}

func (b *LimitedListener) remove(c *limitedConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.open[c]; !ok {
		return
	}
	delete(b.open, c)
	if b.perAddress[c.from]--; b.perAddress[c.from] == 0 {
		delete(b.perAddress, c.from)
	}
}

// counted is a connection that counts until it is closed.
type limitedConn struct {
	net.Conn

	listener  *LimitedListener
	from      netip.Addr
	settingUp bool // guarded by Bounded.mu
}

// SetDeadline implements net.Conn. A gRPC server sets one while a connection is
// being set up, by a handshake of TLS and one of HTTP/2, and none later.
func (c *limitedConn) SetDeadline(t time.Time) error {
	c.listener.mu.Lock()
	c.settingUp = !t.IsZero()
	late := c.settingUp && c.listener.closed
	c.listener.mu.Unlock()
	if late {
		_ = c.Close()
	}
	return c.Conn.SetDeadline(t)
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.listener.remove(c)
	return c.Conn.Close()
}
