package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// service is a server that listens on this machine.
type service struct {
	t       *testing.T
	server  *server.Server
	address string
	streams chan struct{} // holds one for each that has come
	stop    context.CancelFunc
	ended   chan error
}

// serving serves ads on this machine. A connection may take an hour to be set
// up: gRPC does not close one that is slow.
func serving(t *testing.T, ads *server.Server, creds credentials.TransportCredentials) *service {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &service{
		t: t, server: ads, address: listener.Addr().String(), stop: cancel,
		streams: make(chan struct{}, 10), ended: make(chan error, 1),
	}
	transport := grpc.NewServer(append(server.GRPCOptions(), grpc.Creds(creds), grpc.ConnectionTimeout(time.Hour),
		grpc.StreamInterceptor(func(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			s.streams <- struct{}{}
			return handle(service, stream)
		}))...)
	go func() { s.ended <- ads.Serve(ctx, transport, server.LimitListener(listener, 1000, 1000)) }()
	t.Cleanup(cancel)
	return s
}

// ends stops the service, which must end in spite of its connections.
func (s *service) ends() {
	s.t.Helper()
	s.stop()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("it ends with %v", err)
		}
	case <-time.After(deadline):
		s.t.Fatalf("the server has not ended after %s", deadline)
	}
}

// dial connects as Envoys do.
func (s *service) dial(options ...grpc.DialOption) *grpc.ClientConn {
	s.t.Helper()
	conn, err := grpc.NewClient(s.address, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

type adsStream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

// stream opens a stream, and returns when it has come.
func (s *service) stream(options ...grpc.DialOption) adsStream {
	s.t.Helper()
	conn := s.dial(options...)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(s.t.Context(), grpc.WaitForReady(true))
	if err != nil {
		s.t.Fatal(err)
	}
	<-s.streams
	return stream
}

// asks has a stream ask for all clusters and listeners of the default gateway.
func (s *service) asks(stream adsStream) {
	s.t.Helper()
	for _, url := range []string{envoy.TypeCluster, envoy.TypeListener} {
		err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: "by hand", Cluster: string(route.DefaultGateway)}, TypeUrl: url,
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// raw is a connection that says what is given and then nothing.
func (s *service) raw(said string) net.Conn {
	s.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, said); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// deaf are connections that are read no more once ears is closed.
func deaf(ears <-chan struct{}) grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return &deafConn{Conn: conn, ears: ears, closed: make(chan struct{})}, err
	})
}

type deafConn struct {
	net.Conn
	ears   <-chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (c *deafConn) Read(p []byte) (int, error) {
	select {
	case <-c.ears:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return c.Conn.Read(p)
	}
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// The server ends, whatever its peers do.
func TestNoPeerKeepsTheServerFromEnding(t *testing.T) {
	id := identity(t)
	pair, err := tls.X509KeyPair(id.Certificate, id.Key)
	if err != nil {
		t.Fatal(err)
	}
	secured := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}})
	for _, test := range []struct {
		name    string
		creds   credentials.TransportCredentials
		closed  bool // before the first configuration
		large   bool // the configuration is more than the buffers of a connection hold
		connect func(*service)
	}{
		{name: "a stream that never sends", connect: func(s *service) { s.stream() }},
		{name: "a stream that waits for the first picture", closed: true, connect: func(s *service) { s.stream() }},
		{name: "a stream that asks and never answers", connect: func(s *service) {
			stream := s.stream()
			s.asks(stream)
			if _, err := stream.Recv(); err != nil {
				s.t.Error(err)
			}
		}},
		{name: "a stream that never takes a response", connect: func(s *service) {
			s.asks(s.stream())
			s.joined()
		}},
		{name: "a connection that is not even read", large: true, connect: func(s *service) {
			ears := make(chan struct{})
			stream := s.stream(deaf(ears), grpc.WithStaticStreamWindowSize(1<<30), grpc.WithStaticConnWindowSize(1<<30))
			close(ears)
			s.asks(stream)
			s.joined()
		}},
		{name: "a prover that never answers", connect: func(s *service) {
			stream := s.stream()
			if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
				Node: &corev3.Node{Id: "by hand", Cluster: string(route.DefaultGateway)}, TypeUrl: proof.Type,
			}); err != nil {
				s.t.Error(err)
			}
		}},
		{name: "a connection without a stream", connect: func(s *service) {
			conn := s.dial()
			conn.Connect()
			if !within(deadline, func() bool { return conn.GetState() == connectivity.Ready }) {
				s.t.Errorf("the connection is %s", conn.GetState())
			}
		}},
		{name: "a connection that says nothing", connect: func(s *service) { s.raw("") }},
		{name: "a connection that has half said what it is", connect: func(s *service) { s.raw("PRI * HTTP/2.0\r\n") }},
		{name: "a TLS handshake that has not begun", creds: secured, connect: func(s *service) { s.raw("") }},
		{name: "a TLS handshake that does not go on", creds: secured, connect: func(s *service) { s.raw("\x16\x03\x01\x02\x00\x01\x00") }},
		{name: "a TLS connection that says nothing", creds: secured, connect: func(s *service) {
			conn := tls.Client(s.raw(""), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // it is a stranger
			if err := conn.HandshakeContext(s.t.Context()); err != nil {
				s.t.Error(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ads := server.New(server.Options{})
			ads.PublishSettings(route.DefaultGateway, route.DefaultSettings())
			if test.large {
				publishLargeListener(ads)
			}
			if !test.closed {
				ads.Open()
			}
			creds := test.creds
			if creds == nil {
				creds = insecure.NewCredentials()
			}
			s := serving(t, ads, creds)
			test.connect(s)
			s.ends()
		})
	}
}

// joined waits until an Envoy is let in.
func (s *service) joined() {
	s.t.Helper()
	if !within(deadline, func() bool { return len(s.server.Envoys()) == 1 }) {
		s.t.Fatal("the Envoy is not let in")
	}
}

// publishLargeListener makes a listener of several MiB, which is one resource and
// one response.
func publishLargeListener(ads *server.Server) {
	settings := route.DefaultSettings()
	settings.HTTPSPort = 443
	ads.PublishSettings(route.DefaultGateway, settings)
	for i := range 600 {
		ca := fmt.Sprintf("ca-%d", i)
		ads.PublishClientCA(secretOf(ca), []byte("authorities"))
		ads.PublishHost(keyOf(route.Hostname(ca)+".test"), guarded(route.Hostname(ca)+".test", ca))
	}
}

func identity(t *testing.T) authority.Identity {
	t.Helper()
	by, err := authority.New("authority", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id, err := by.Issue(pkix.Name{CommonName: "server"}, []string{"server.test"})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// An Envoy is told to use another server, over a connection on which it opens no new
// stream, and its stream ends with a status that lets it try again.
func TestEnvoysAreToldToGoElsewhere(t *testing.T) {
	ads := server.New(quick())
	ads.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	ads.Open()
	s := serving(t, ads, insecure.NewCredentials())
	conn := s.dial()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context(), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	s.asks(stream)
	s.joined()
	s.stop()
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v, want Unavailable", err)
	}
	if !within(deadline, func() bool { return conn.GetState() != connectivity.Ready }) {
		t.Error("the connection is used still")
	}
	s.ends()
}

// What an Envoy was sent before the end is answered before its stream ends, and
// the observer hears of it.
func TestAnswersUnderWayAreHeard(t *testing.T) {
	b := opened(t, quick())
	e := b.mayDrop(b.synced(simulated.Options{}))
	b.served(hostOf("shop.test", to("/", "web")))
	b.eventually("the observer has heard of it", func() bool { return b.observer.timesServed("shop.test") == 1 })
	e.Stall(true)
	responses := e.Statistics().Responses
	b.publish(hostOf("shop.test", to("/v2", "web")))
	b.eventually("the Envoy has the new routes", func() bool { return e.Statistics().Responses > responses })
	closed := make(chan struct{})
	go func() { defer close(closed); b.server.Close() }()
	e.Stall(false)
	<-closed
	if served := b.observer.timesServed("shop.test"); served != 2 {
		t.Errorf("the observer heard %d times that it is served, want 2: the answer that was under way is lost", served)
	}
}

// Close does not wait for ever for an Envoy that does not answer.
func TestCloseDoesNotWaitForAnswers(t *testing.T) {
	b := opened(t, quick())
	e := b.mayDrop(b.synced(simulated.Options{}))
	b.served(hostOf("shop.test", to("/", "web")))
	e.Stall(true)
	responses := e.Statistics().Responses
	b.publish(hostOf("shop.test", to("/v2", "web")))
	b.eventually("the Envoy has the new routes", func() bool { return e.Statistics().Responses > responses })
	closed := make(chan struct{})
	go func() { defer close(closed); b.server.Close() }()
	select {
	case <-closed:
	case <-time.After(deadline):
		t.Fatal("an Envoy that does not answer keeps the server from ending")
	}
}

// The server ends a stream that sends no request, also while it runs.
func TestASilentStreamIsEnded(t *testing.T) {
	ads := server.New(server.Options{SyncTimeout: 50 * time.Millisecond})
	ads.Open()
	s := serving(t, ads, insecure.NewCredentials())
	ended := make(chan error, 1)
	stream := s.stream()
	go func() { _, err := stream.Recv(); ended <- err }()
	select {
	case err := <-ended:
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("it ends with %v, want DeadlineExceeded", err)
		}
	case <-time.After(deadline):
		t.Error("a silent stream stays")
	}
	s.ends()
}

// A connection that is being set up goes with the listener; one that is set up
// stays until it is cut.
func TestConnectionsOfAClosedListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := server.LimitListener(inner, 10, 10)
	accept := func() (theirs, ours net.Conn) {
		theirs, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { theirs.Close() })
		if ours, err = listener.Accept(); err != nil {
			t.Fatal(err)
		}
		return theirs, ours
	}
	ends := func(conn net.Conn) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(conn).ReadByte(); err == nil || isTimeout(err) {
			t.Errorf("the connection is open: %v", err)
		}
	}
	settingUp, deadlined := accept()
	if err := deadlined.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	setUp, ready := accept()
	for _, until := range []time.Time{time.Now().Add(time.Hour), {}} {
		if err := ready.SetDeadline(until); err != nil {
			t.Fatal(err)
		}
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	ends(settingUp)
	if _, err := ready.Write([]byte("x")); err != nil {
		t.Errorf("a connection that is set up goes with the listener: %v", err)
	}
	if _, err := io.ReadFull(setUp, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	listener.CloseAll()
	ends(setUp)
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it accepts: %v", err)
	}
}
