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
	// handshakeTimeout bounds a handshake of ours. Envoy waits in it for the
	// controller.
	handshakeTimeout = 3 * time.Second
)

// errNoWayIn is why nothing can be proved.
var errNoWayIn = errors.New("the listener takes connections only from where its settings say, and this machine has no such address") // a constant

// unreachableError is a listener that could not be connected to.
type unreachableError struct{ cause error }

func (e *unreachableError) Error() string { return "connect to Envoy's listener: " + e.cause.Error() }
func (e *unreachableError) Unwrap() error { return e.cause }

// door is Envoy's listener for TLS, as a client on this machine sees it.
type door struct {
	admin Admin

	mu sync.Mutex
	at netip.AddrPort // zero: not known
}

// show makes a handshake and returns the certificate that was shown, if it is one
// of the statement's. What else was shown is an error.
func (d *door) show(ctx context.Context, statement proof.Statement) (*x509.Certificate, error) {
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

// subjectOf is a certificate's names for people.
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

// handshake is what a client sees who connects with a server name. A handshake
// that fails after the certificate, as for lack of one of the client's, has shown
// it.
func (d *door) handshake(ctx context.Context, statement proof.Statement) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	connection, err := d.open(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer connection.Close() //nolint:errcheck // it has shown what we wanted
	var shown [][]byte
	client := tls.Client(connection, &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: statement.ServerName(),
		InsecureSkipVerify:    true, // whoever signed it: it is compared byte by byte
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

// open connects to the listener. Where a PROXY header is expected, ours says
// that the connection is the sender's own (version 2, LOCAL).
func (d *door) open(ctx context.Context, statement proof.Statement) (net.Conn, error) {
	at, err := d.address(ctx)
	if err != nil {
		return nil, &unreachableError{err}
	}
	dialer := &net.Dialer{}
	if len(statement.From) > 0 {
		own := ownAddress(statement.From, at.Addr())
		if !own.IsValid() {
			return nil, errNoWayIn
		}
		dialer.LocalAddr = &net.TCPAddr{IP: own.AsSlice()}
		if at.Addr().IsUnspecified() {
			at = netip.AddrPortFrom(own, at.Port())
		}
	}
	connection, err := dialer.DialContext(ctx, "tcp", reachable(at).String())
	if err != nil {
		d.lost()
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

// reachable is where a client on this machine connects to reach a listener.
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

// ownAddress is an address of this machine within the prefixes, from which the
// listener can be reached; the zero value: there is none.
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

// address is where the listener is, as Envoy says.
func (d *door) address(ctx context.Context) (netip.AddrPort, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at.IsValid() {
		return d.at, nil
	}
	listeners, err := d.admin.listeners(ctx)
	if err != nil {
		return netip.AddrPort{}, err
	}
	at, ok := listeners[httpsListener]
	if !ok {
		return netip.AddrPort{}, errors.New("it is not there")
	}
	d.at = at
	return at, nil
}

// lost has the address asked for again.
func (d *door) lost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = netip.AddrPort{}
}

// listeners are where Envoy's listeners are, by name. Those on sockets of other
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
