package server

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// LimitedListener is a listener that closes a new connection at once when there are too
// many already, in all or from its address: a flood from one address harms only that
// address. Use LimitListener.
type LimitedListener struct {
	net.Listener

	maxTotal, maxPerAddress int

	mu         sync.Mutex
	open       map[*limitedConn]struct{}
	perAddress map[netip.Addr]int // open connections; those of a Unix socket have the zero address
	closed     bool
}

// LimitListener bounds the connections of listener: all of them, and those from one
// address.
func LimitListener(listener net.Listener, maxTotal, maxPerAddress int) *LimitedListener {
	return &LimitedListener{
		Listener: listener, maxTotal: maxTotal, maxPerAddress: maxPerAddress,
		open: map[*limitedConn]struct{}{}, perAddress: map[netip.Addr]int{},
	}
}

// Accept implements net.Listener.
func (l *LimitedListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &limitedConn{Conn: connection, listener: l, from: addressOfConnection(connection)}
		if l.add(c) {
			return c, nil
		}
		_ = connection.Close() // the peer gets no answer
	}
}

func (l *LimitedListener) add(c *limitedConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open) >= l.maxTotal || (c.from.IsValid() && l.perAddress[c.from] >= l.maxPerAddress) {
		return false
	}
	l.open[c] = struct{}{}
	l.perAddress[c.from]++
	return true
}

func (l *LimitedListener) remove(c *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[c]; !ok {
		return
	}
	delete(l.open, c)
	if l.perAddress[c.from]--; l.perAddress[c.from] == 0 {
		delete(l.perAddress, c.from)
	}
}

// Close implements net.Listener. It also closes the connections that are being set up: a
// gRPC server that ends does not reach them otherwise.
func (l *LimitedListener) Close() error {
	l.closeWhere(func(c *limitedConn) bool { return c.settingUp })
	return l.Listener.Close()
}

// CloseAll closes the listener and all of its connections.
func (l *LimitedListener) CloseAll() {
	_ = l.Listener.Close() // it may be closed
	l.closeWhere(func(*limitedConn) bool { return true })
}

// closeWhere stops accepting, and closes the connections that are chosen.
func (l *LimitedListener) closeWhere(isChosen func(*limitedConn) bool) {
	l.mu.Lock()
	l.closed = true
	var chosen []*limitedConn
	for c := range l.open {
		if isChosen(c) {
			chosen = append(chosen, c)
		}
	}
	l.mu.Unlock()
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

// limitedConn is a connection that counts until it is closed.
type limitedConn struct {
	net.Conn

	listener  *LimitedListener
	from      netip.Addr
	settingUp bool // guarded by LimitedListener.mu
}

// SetDeadline implements net.Conn. A gRPC server sets a deadline while it sets a
// connection up, with the handshakes of TLS and HTTP/2, and none later.
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
