package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// Server is the delta ADS server of all gateways. Use New.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	options  Options
	now      func() time.Time
	metrics  *metrics
	notifier *notifier
	opened   chan struct{}  // closed by Open
	closed   chan struct{}  // closed by Close
	running  sync.WaitGroup // but for the streams' goroutines
	// streaming are the goroutines of streams. They end before notes do.
	streaming sync.WaitGroup

	mu                 sync.Mutex
	gateways           map[route.Gateway]*gateway
	backends           map[route.ServicePort][]byte
	defaultCertificate publishedCertificate // the default certificate of all gateways

	authorities map[route.Authority][]byte // who vouches for backends, in PEM
	clientCAs   map[string][]byte          // who vouches for clients, as secrets, by the name of the resource
	open        bool
	closing     bool

	staleSince time.Time            // since when the picture cannot be kept up to date; zero: it can
	turnedAway map[peerKey]attempts // who was sent to other servers
}

// New starts a server that answers nobody before Open. It runs until Close.
func New(options Options) *Server {
	defaults := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	defaults(&options.ClusterGrace, 10*time.Second)
	defaults(&options.AckTimeout, 5*time.Second)
	defaults(&options.SyncTimeout, time.Minute)
	defaults(&options.DNSGrace, time.Second)
	defaults(&options.ProofTimeout, 10*time.Second)
	defaults(&options.LastResortAfter, 5*time.Second)
	s := &Server{
		options:  options,
		now:      time.Now,
		notifier: newNotifier(),
		opened:   make(chan struct{}),
		closed:   make(chan struct{}),
		gateways: make(map[route.Gateway]*gateway),
		backends: make(map[route.ServicePort][]byte),

		authorities: make(map[route.Authority][]byte),
		clientCAs:   make(map[string][]byte),
	}
	s.metrics = newMetrics(s.caughtUp, s.proofs)
	s.running.Go(func() { s.notifier.run(options.Observer) })
	return s
}

// Register adds the service to a gRPC server.
func (s *Server) Register(registrar grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(registrar, s)
}

// Open says that the first picture is complete. Streams that wait are answered
// from now on.
func (s *Server) Open() {
	s.update(func() {
		if s.open {
			return
		}
		s.open = true
		if s.staleSince.IsZero() {
			s.turnedAway = nil // nobody is sent elsewhere any more
		}
		for _, g := range s.gateways {
			g.renderListenersNow() // now the certificates are known
		}
		close(s.opened)
	})
}

// PublishHost makes host what is served under key; nil withdraws it.
func (s *Server) PublishHost(key route.Key, host *route.Host) {
	s.update(func() {
		if g, ok := s.gateways[key.Gateway]; ok {
			g.publishHost(key.Host, host)
		} else if host != nil {
			s.gateway(key.Gateway).publishHost(key.Host, host)
		}
	})
}

// PublishBackend makes backend the endpoints of port, in every gateway that
// routes to it. nil withdraws them: clusters that are still in use keep what
// they had.
func (s *Server) PublishBackend(port route.ServicePort, backend *route.Backend) {
	var body []byte
	if backend != nil {
		body = envoy.Endpoints(*backend).Body
	}
	s.update(func() {
		if body == nil {
			shrink.Delete(&s.backends, port)
			return
		}
		_, known := s.backends[port]
		s.backends[port] = body
		for _, g := range s.gateways {
			g.publishBackend(port, body, known)
		}
	})
}

// PublishSettings creates the gateway or changes its settings.
func (s *Server) PublishSettings(gateway route.Gateway, settings route.Settings) {
	s.update(func() { s.gateway(gateway).applySettings(settings) })
}

// WithdrawGateway says that nobody asks for the gateway any more. Envoys that
// are connected keep their listeners, and are told of what is withdrawn of its
// hosts; others are not let in. When the last one has left, and the last host is
// withdrawn, the gateway is forgotten.
func (s *Server) WithdrawGateway(gateway route.Gateway) {
	s.update(func() {
		if g, ok := s.gateways[gateway]; ok {
			g.isConfigured = false
		}
	})
}

// collect forgets a gateway that is over.
func (s *Server) removeIfUnused(g *gateway) {
	if g.isUnused() {
		delete(s.gateways, g.name)
	}
}

// gateway returns the gateway of that name, made if need be.
func (s *Server) gateway(name route.Gateway) *gateway {
	g, ok := s.gateways[name]
	if !ok {
		g = newGateway(s, name)
		s.gateways[name] = g
	}
	return g
}

// do changes the picture, and forgets the gateways that are over. Before the
// first picture is complete shards are not assembled: each would be, as often as
// a host of it is published.
func (s *Server) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	if !s.open {
		return
	}
	for _, g := range s.gateways {
		g.flush()
		s.removeIfUnused(g)
	}
}

// after does change when d has passed, unless the server is closed before.
func (s *Server) after(d time.Duration, change func()) *time.Timer {
	return time.AfterFunc(d, func() {
		s.update(func() {
			if !s.closing {
				change()
			}
		})
	})
}

// DeltaAggregatedResources serves one Envoy until it leaves.
func (s *Server) DeltaAggregatedResources(ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx, cancel := context.WithCancelCause(ads.Context())
	defer cancel(nil)
	first, err := s.firstRequest(ctx, ads)
	if err != nil {
		return err
	}
	lent, err := s.admit(ctx, first)
	if err != nil {
		return err
	}
	if isProver(first) {
		return s.serveProver(ctx, ads, gatewayOf(first.GetNode()), first, lent)
	}
	stream, err := s.join(ctx, cancel, first, lent)
	if err != nil {
		return err
	}
	defer s.update(stream.leave)
	// Neither Recv nor Send can be interrupted but by returning from here.
	go func() { defer s.streaming.Done(); cancel(s.receive(ads, stream, first)) }()
	go func() { defer s.streaming.Done(); cancel(s.send(ctx, ads, stream)) }()
	select {
	case <-s.closed:
		s.drain(ctx, stream)
		return errShuttingDown
	case <-ctx.Done():
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, io.EOF) {
		s.options.Log.Info("envoy disconnected", "node", stream.node, "cause", cause.Error())
		return status.Error(codes.Aborted, cause.Error())
	}
	return nil
}

// join lets an Envoy in.
func (s *Server) join(ctx context.Context, cancel context.CancelCauseFunc, first *discoveryv3.DeltaDiscoveryRequest, lent bool) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.gateways[gatewayOf(first.GetNode())]
	if !ok || !g.isConfigured {
		return nil, status.Errorf(codes.NotFound, "no gateway %q (an Envoy's gateway is its node's cluster)", gatewayOf(first.GetNode()))
	}
	if s.closing {
		return nil, errShuttingDown
	}
	if err := s.recheckStale(lent); err != nil {
		return nil, err
	}
	s.streaming.Add(2) // receive and send
	stream := g.newStream(ctx, cancel, first.GetNode(), s.now())
	s.limitStay(cancel)
	s.options.Log.Info("envoy connected", "node", stream.node, "gateway", g.name, "address", stream.address, "version", stream.version)
	return stream, nil
}

// authorize refuses who may not have the gateway that it asks for. It does not
// say whether there is such a gateway.
func (s *Server) authorize(ctx context.Context, node *corev3.Node) error {
	if s.options.Authorize == nil {
		return nil
	}
	gateway := gatewayOf(node)
	err := s.options.Authorize(ctx, gateway)
	if err == nil {
		return nil
	}
	s.metrics.unauthorized.Inc()
	s.options.Log.Info("stream turned away", "node", node.GetId(), "gateway", gateway, "address", addressOf(ctx), "cause", err.Error())
	return status.Error(codes.PermissionDenied, err.Error())
}

// addressOf is where the peer of a stream is.
func addressOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// receive takes requests until the stream ends.
func (s *Server) receive(ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, stream *stream, req *discoveryv3.DeltaDiscoveryRequest) error {
	for {
		var err error
		s.update(func() { err = stream.handleRequest(req) })
		if err != nil {
			return err
		}
		if req, err = ads.Recv(); err != nil {
			return err
		}
	}
}

// send sends what stream lacks, whenever there is something, until ctx ends.
func (s *Server) send(ctx context.Context, ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, stream *stream) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-stream.wake:
		}
		for {
			var res *discoveryv3.DeltaDiscoveryResponse
			s.update(func() { res = stream.next() })
			if res == nil {
				break
			}
			s.countResponse(res)
			if err := ads.Send(res); err != nil {
				return err
			}
		}
	}
}

// count notes a response in the metrics.
func (s *Server) countResponse(res *discoveryv3.DeltaDiscoveryResponse) {
	k, _ := kindOf(res.GetTypeUrl())
	size := 0
	for _, r := range res.GetResources() {
		size += len(r.GetResource().GetValue())
	}
	s.metrics.responses.WithLabelValues(k.String()).Inc()
	s.metrics.bytes.WithLabelValues(k.String()).Add(float64(size))
}

// emptyEndpoints are those of a Service port without any.
func emptyEndpoints(port route.ServicePort) []byte {
	return envoy.Endpoints(route.Backend{Port: port}).Body
}
