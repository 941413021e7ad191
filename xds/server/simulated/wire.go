package simulated

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// Wire is a gRPC server over connections in memory, which counts the bytes that
// it sends.
type Wire struct {
	listener *bufconn.Listener
	server   *grpc.Server
	sent     atomic.Int64
	served   sync.WaitGroup
}

// NewWire serves ads until Close.
func NewWire(ads discoveryv3.AggregatedDiscoveryServiceServer) *Wire {
	w := &Wire{
		listener: bufconn.Listen(256 << 10),
		server:   grpc.NewServer(grpc.MaxRecvMsgSize(math.MaxInt32)),
	}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(w.server, ads)
	w.served.Go(func() { _ = w.server.Serve(counting{w.listener, &w.sent}) })
	return w
}

// Dial opens a connection of its own, as each Envoy does.
func (w *Wire) Dial() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return conn, nil
}

// Sent is how many bytes have left the server, HTTP/2 framing included.
func (w *Wire) Sent() int64 { return w.sent.Load() }

// Close ends all connections and waits for the server.
func (w *Wire) Close() {
	w.server.Stop()
	w.served.Wait()
}

// counting is a listener whose connections add what they write to sent.
type counting struct {
	net.Listener
	sent *atomic.Int64
}

func (l counting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // gRPC looks for the listener's own error
	}
	return countingConn{conn, l.sent}, nil
}

type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err //nolint:wrapcheck // transparent
}
