package loopguard

import (
	"crypto/rand"
	"net"

	"github.com/miekg/dns"
)

// random is a label that nobody asks for by chance.
func random() string { return rand.Text() }

// answer keeps the answer to a question of our own.
type answer struct{ message *dns.Msg }

// WriteMsg implements dns.ResponseWriter.
func (a *answer) WriteMsg(message *dns.Msg) error {
	a.message = message
	return nil
}

// Write implements dns.ResponseWriter.
func (a *answer) Write(text []byte) (int, error) {
	message := &dns.Msg{}
	if err := message.Unpack(text); err != nil {
		return 0, err
	}
	return len(text), a.WriteMsg(message)
}

// LocalAddr implements dns.ResponseWriter.
func (*answer) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53} }

// RemoteAddr implements dns.ResponseWriter.
func (*answer) RemoteAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53} }

// Close implements dns.ResponseWriter.
func (*answer) Close() error { return nil }

// TsigStatus implements dns.ResponseWriter.
func (*answer) TsigStatus() error { return nil }

// TsigTimersOnly implements dns.ResponseWriter.
func (*answer) TsigTimersOnly(bool) {}

// Hijack implements dns.ResponseWriter.
func (*answer) Hijack() {}

// Network implements dns.ResponseWriter.
func (*answer) Network() string { return "udp" }
