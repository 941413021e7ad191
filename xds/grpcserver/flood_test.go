package grpcserver_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/grpcserver"
	"github.com/fairwaynet/fairway/xds/route"
	adsserver "github.com/fairwaynet/fairway/xds/server"
)

// The server closes connections of clients that send nothing, or nonsense, after
// a few seconds. Meanwhile Envoys still get their configuration.
func TestStrangersKeepNoEnvoyAway(t *testing.T) {
	now := time.Now()
	ours, blue := authorityAndGateway(t, "blue", now)
	ads := adsserver.New(adsserver.Options{Log: logr.Discard(), Authorize: grpcserver.Authorize})
	ads.PublishSettings("blue", route.DefaultSettings())
	ads.Open()
	address := serveWith(t, controllersOf(t, ours, now), ads)
	before := memory()

	var strangers sync.WaitGroup
	for i, kind := range []func(net.Conn) error{
		func(net.Conn) error { return nil },
		says("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), // the start of a handshake
		says("\x16\x03\x01\xff\xff"),
		says("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		says("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		func(conn net.Conn) error {
			_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake() // the server refuses it later
			return nil
		},
	} {
		for n := range 200 {
			strangers.Go(func() { stranger(t, fmt.Sprintf("127.9.%d.%d", i, n%2+1), address, kind) })
		}
	}
	gone := make(chan struct{})
	go func() { defer close(gone); strangers.Wait() }()
	asked, slowest := 0, time.Duration(0)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for over := false; !over; asked++ {
		select {
		case <-gone:
			over = true
		case <-tick.C:
		}
		began := time.Now()
		if err := listeners(t, address, blue, "blue"); status.Code(err) != codes.OK {
			t.Errorf("an Envoy is not served: %v", err)
		}
		slowest = max(slowest, time.Since(began))
	}
	soak.Promised(t, "the slowest to serve an Envoy", slowest, 5*time.Second)
	t.Logf("an Envoy was served %d times; the heap is %d KiB larger", asked, (memory()-before)>>10)
	if grown := memory() - before; grown > 64<<20 {
		t.Errorf("%d MiB stay", grown>>20)
	}
}

// stranger connects, acts, and expects the server to close the connection.
func stranger(t *testing.T, from, address string, what func(net.Conn) error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(context.Background(), "tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Error(err)
	}
	if err := what(conn); err != nil {
		return // closed by the server
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger from %s is still connected", from)
	}
}

func says(text string) func(net.Conn) error {
	return func(conn net.Conn) error {
		_, err := io.WriteString(conn, text)
		return err
	}
}

// memory is the heap in use after a collection, in bytes.
func memory() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
