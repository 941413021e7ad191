package link_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/cni/link"
)

// Sockets that wait for others are found, and no others: not a connection, not a socket that
// is bound to its peer. The program that has them is this test.
func TestListeners(t *testing.T) {
	listen := func(network, address string) int {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().(*net.TCPAddr).Port
	}
	packets := func(network, address string) {
		l, err := (&net.ListenConfig{}).ListenPacket(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	listen("tcp4", "0.0.0.0:31000")
	listen("tcp", "[::]:31001")
	listen("tcp6", "[::]:31002")
	listen("tcp4", "127.0.0.1:31003")
	packets("udp4", "0.0.0.0:31004")
	packets("udp6", "[::1]:31005")
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 31006}}
	connected, err := dialer.DialContext(context.Background(), "tcp4", "127.0.0.1:31003")
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	dialer = net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 31007}}
	peer, err := dialer.DialContext(context.Background(), "udp4", "127.0.0.1:31004")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()

	found, err := link.Listeners()
	if err != nil {
		t.Fatal(err)
	}
	got, inodes := map[link.Listener]bool{}, []uint32{}
	for _, l := range found {
		inodes = append(inodes, l.Inode)
		l.Inode = 0
		got[l] = true
	}
	for text, want := range map[string]link.Listener{
		"0.0.0.0:31000":   {Protocol: unix.IPPROTO_TCP},
		"[::]:31001":      {Protocol: unix.IPPROTO_TCP, Both: true},
		"[::]:31002":      {Protocol: unix.IPPROTO_TCP},
		"127.0.0.1:31003": {Protocol: unix.IPPROTO_TCP},
		"0.0.0.0:31004":   {Protocol: unix.IPPROTO_UDP},
		"[::1]:31005":     {Protocol: unix.IPPROTO_UDP},
	} {
		want.At = netip.MustParseAddrPort(text)
		if !got[want] {
			t.Errorf("%+v is not found", want)
		}
		delete(got, want)
	}
	if len(got) > 0 {
		t.Errorf("these are found, too: %+v", got)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const longest = 15 // of a name in the kernel
	name := filepath.Base(own)
	name = name[:min(len(name), longest)]
	programs := link.Programs(inodes...)
	for _, inode := range inodes {
		if programs[inode] != name {
			t.Errorf("socket %d is of %q, want %q", inode, programs[inode], name)
		}
	}
}
