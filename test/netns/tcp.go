package netns

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// Forward lets the namespace of the caller route packets of both families.
func Forward(t testing.TB) {
	t.Helper()
	for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if err := os.WriteFile(path, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// Answer listens at an address of the namespace, and tells each client the address that
// it comes from, followed by more. It ends with the test.
func (n *Namespace) Answer(t testing.TB, address string, more ...byte) netip.AddrPort {
	t.Helper()
	return n.Serve(t, address, func(client net.Conn) {
		from := netip.MustParseAddrPort(client.RemoteAddr().String()).Addr().Unmap()
		_, _ = fmt.Fprint(client, from) // a client that is gone has said so
		_, _ = client.Write(more)
	})
}

// Serve listens at an address of the namespace, and calls serve for each client, whose
// connection it then closes. It ends with the test.
func (n *Namespace) Serve(t testing.TB, address string, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	var listener net.Listener
	var err error
	n.Do(func() { listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { serve(client); _ = client.Close() }()
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// Dial connects from the namespace.
func (n *Namespace) Dial(t testing.TB, to string) (client net.Conn, err error) {
	t.Helper()
	const patience = 5 * time.Second
	n.Do(func() { client, err = (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", to) })
	return client, err
}

// Ask connects from the namespace, and returns all that the other end says.
func (n *Namespace) Ask(t testing.TB, to string) (string, error) {
	t.Helper()
	const answer = 10 * time.Second
	client, err := n.Dial(t, to)
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Close() }() // all was read
	if err := client.SetDeadline(time.Now().Add(answer)); err != nil {
		return "", err
	}
	said, err := io.ReadAll(client)
	return string(said), err
}
