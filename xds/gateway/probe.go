package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/fairwaynet/fairway/xds/proof"
)

const (
	// httpsListener is the name of the listener that clients connect to.
	httpsListener = "https"
	// handshakeTimeout bounds a handshake of the probe, in which Envoy may wait for the
	// controller.
	handshakeTimeout = 3 * time.Second
)

// errNoAllowedSource is the reason why nothing can be proved.
var errNoAllowedSource = errors.New("the listener takes connections only from where its settings say, and this machine has no such address") // a constant

// unreachableError says that a connection to the listener failed.
type unreachableError struct{ cause error }

func (e *unreachableError) Error() string { return "connect to Envoy's listener: " + e.cause.Error() }
func (e *unreachableError) Unwrap() error { return e.cause }

// handshakeProbe makes TLS handshakes with Envoy's listener, as a client on this machine.
type handshakeProbe struct {
	admin Admin

	mu       sync.Mutex
	listener netip.AddrPort // zero: unknown
}

// verify makes a handshake and returns the certificate that Envoy showed, if it is one of
// the statement's. Any other certificate is an error.
func (d *handshakeProbe) verify(ctx context.Context, statement proof.Statement) (*x509.Certificate, error) {
	leaf, err := d.handshake(ctx, statement)
	switch {
	case err != nil:
		return nil, err
	case !statement.Holds(proof.FingerprintOf(leaf.Raw)):
		return nil, fmt.Errorf("clients get the certificate of %s with serial number %s, valid until %s",
			subjectOf(leaf), leaf.SerialNumber.Text(16), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return leaf, nil
}

// subjectOf tells people the names of a certificate.
func subjectOf(c *x509.Certificate) string {
	const most = 3
	switch names := c.DNSNames; {
	case len(names) == 0:
		return fmt.Sprintf("%q", c.Subject.CommonName)
	case len(names) > most:
		return fmt.Sprintf("%q and %d more", names[:most], len(names)-most)
	default:
		return fmt.Sprintf("%q", names)
	}
}

// handshake returns the certificate that a client sees which connects with a server name.
// A handshake that fails later, as for lack of a client certificate, has shown it.
func (d *handshakeProbe) handshake(ctx context.Context, statement proof.Statement) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	connection, err := d.dial(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer connection.Close() //nolint:errcheck // the certificate is known by then
	var shown [][]byte
	client := tls.Client(connection, &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: statement.ServerName(),
		InsecureSkipVerify:    true, // the certificate is compared byte by byte
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error { shown = raw; return nil },
	})
	err = client.HandshakeContext(ctx)
	if err == nil {
		_ = client.CloseWrite() // so that Envoy counts no failure
	}
	if len(shown) == 0 {
		return nil, fmt.Errorf("clients get no certificate: %w", err)
	}
	return x509.ParseCertificate(shown[0])
}

// dial connects to the listener. If that expects a PROXY header, ours says that the
// connection is the sender's own (version 2, LOCAL).
func (d *handshakeProbe) dial(ctx context.Context, statement proof.Statement) (net.Conn, error) {
	at, err := d.listenerAddress(ctx)
	if err != nil {
		return nil, &unreachableError{err}
	}
	dialer := &net.Dialer{}
	if len(statement.From) > 0 {
		own := ownAddress(statement.From, at.Addr())
		if !own.IsValid() {
			return nil, errNoAllowedSource
		}
		dialer.LocalAddr = &net.TCPAddr{IP: own.AsSlice()}
		if at.Addr().IsUnspecified() {
			at = netip.AddrPortFrom(own, at.Port())
		}
	}
	connection, err := dialer.DialContext(ctx, "tcp", reachable(at).String())
	if err != nil {
		d.forgetAddress()
		return nil, &unreachableError{err}
	}
	if statement.Proxy {
		const local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
		if _, err := connection.Write([]byte(local)); err != nil {
			return nil, errors.Join(&unreachableError{err}, connection.Close())
		}
	}
	return connection, nil
}

// reachable is the address to which a client on this machine connects for a listener.
func reachable(at netip.AddrPort) netip.AddrPort {
	switch {
	case !at.Addr().IsUnspecified():
		return at
	case at.Addr().Is4():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
	default:
		return netip.AddrPortFrom(netip.IPv6Loopback(), at.Port())
	}
}

// ownAddress is an address of this machine within the prefixes from which the listener
// can be reached; the zero value: there is none.
func ownAddress(within []netip.Prefix, listener netip.Addr) netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, address := range all {
		network, ok := address.(*net.IPNet)
		if !ok {
			continue
		}
		own, _ := netip.AddrFromSlice(network.IP)
		own = own.Unmap()
		if !listener.IsUnspecified() && own.Is4() != listener.Is4() || listener == netip.IPv4Unspecified() && !own.Is4() {
			continue
		}
		if slices.ContainsFunc(within, func(p netip.Prefix) bool { return p.Contains(own) }) && !own.IsLinkLocalUnicast() {
			return own
		}
	}
	return netip.Addr{}
}

// listenerAddress is the address of the listener, by Envoy's admin interface.
func (d *handshakeProbe) listenerAddress(ctx context.Context) (netip.AddrPort, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener.IsValid() {
		return d.listener, nil
	}
	listeners, err := d.admin.listeners(ctx)
	if err != nil {
		return netip.AddrPort{}, err
	}
	at, ok := listeners[httpsListener]
	if !ok {
		return netip.AddrPort{}, errors.New("there is no such listener")
	}
	d.listener = at
	return at, nil
}

// forgetAddress has the next listenerAddress ask Envoy again.
func (d *handshakeProbe) forgetAddress() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listener = netip.AddrPort{}
}

// listeners are the addresses of Envoy's listeners, by name. Those on sockets of other
// kinds are left out.
func (a Admin) listeners(ctx context.Context) (map[string]netip.AddrPort, error) {
	text, err := a.ask(ctx, "GET", "/listeners", url.Values{"format": {"json"}})
	if err != nil {
		return nil, err
	}
	var all struct {
		Listeners []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Protocol string `json:"protocol"`
					Address  string `json:"address"`
					Port     uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("read envoy's listeners: %w", err)
	}
	found := map[string]netip.AddrPort{}
	for _, l := range all.Listeners {
		if ip, err := netip.ParseAddr(l.Address.Socket.Address); err == nil {
			found[l.Name] = netip.AddrPortFrom(ip, l.Address.Socket.Port)
		}
	}
	return found, nil
}
