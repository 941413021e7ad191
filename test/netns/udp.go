package netns

import (
	"context"
	"net"
	"testing"
)

// EchoDatagrams sends each datagram that comes to an address back, until the test ends.
func (n *Namespace) EchoDatagrams(t testing.TB, address string) {
	t.Helper()
	var socket net.PacketConn
	var err error
	n.Do(func() { socket, err = (&net.ListenConfig{}).ListenPacket(context.Background(), "udp", address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		buffer := make([]byte, 64)
		for {
			k, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = socket.WriteTo(buffer[:k], from) // a client that is gone misses nothing
		}
	}()
}
