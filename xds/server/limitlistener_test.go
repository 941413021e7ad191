package server_test

import (
	"net"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/xds/server"
)

func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := server.LimitListener(inner, 3, 2)
	accepted := make(chan net.Conn, 10)
	go func() {
		defer close(accepted)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- connection
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		for connection := range accepted {
			connection.Close()
		}
	})
	connect := func(from string) net.Conn {
		t.Helper()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		connection, err := dialer.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { connection.Close() })
		return connection
	}
	refused := func(connection net.Conn) {
		t.Helper()
		if err := connection.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := connection.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Fatalf("a connection too many is open: %v", err)
		}
	}

	connect("127.0.0.1")
	first := <-accepted
	connect("127.0.0.1")
	second := <-accepted
	refused(connect("127.0.0.1")) // too many of its address
	connect("127.0.0.2")
	third := <-accepted
	refused(connect("127.0.0.3")) // too many in all

	first.Close()
	first.Close() // counts once
	connect("127.0.0.3")
	fourth := <-accepted
	refused(connect("127.0.0.3"))
	for _, connection := range []net.Conn{second, third, fourth} {
		connection.Close()
	}
}

func isTimeout(err error) bool {
	failure, ok := err.(net.Error) //nolint:errorlint // of this very call
	return ok && failure.Timeout()
}
