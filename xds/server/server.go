package server

import (
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

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
	running  sync.WaitGroup // the notifier
	// streaming are the goroutines of streams. They end before the notifier does.
	streaming sync.WaitGroup

	mu                 sync.Mutex
	gateways           map[route.Gateway]*gateway
	backends           map[route.ServicePort][]byte
	defaultCertificate publishedCertificate // of all gateways

	authorities map[route.Authority][]byte // the CAs of backends, in PEM
	clientCAs   map[string][]byte          // the CAs of clients, as secrets, by the name of the resource
	open        bool
	closing     bool

	staleSince time.Time            // since when the configuration cannot be kept up to date; zero: it can
	turnedAway map[peerKey]attempts // the peers that were sent to other servers
}

// New starts a server that answers no stream before Open. It runs until Close.
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

// Open says that the first configuration is complete. The server answers streams from
// now on, those that wait included.
func (s *Server) Open() {
	s.update(func() {
		if s.open {
			return
		}
		s.open = true
		if s.staleSince.IsZero() {
			s.turnedAway = nil // no peer is turned away any more
		}
		for _, g := range s.gateways {
			g.renderListenersNow() // now the certificates are known
		}
		close(s.opened)
	})
}

// PublishHost makes host the virtual host of key; nil withdraws it.
func (s *Server) PublishHost(key route.Key, host *route.Host) {
	s.update(func() {
		if g, ok := s.gateways[key.Gateway]; ok {
			g.publishHost(key.Host, host)
		} else if host != nil {
			s.gateway(key.Gateway).publishHost(key.Host, host)
		}
	})
}

// PublishBackend makes backend the endpoints of port, in every gateway that routes to
// it. nil withdraws them: clusters that are still in use keep the last ones.
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

// WithdrawGateway says that the gateway is not wanted any more. Connected Envoys keep
// their listeners, and still learn of withdrawn hosts. No other Envoy is admitted. The
// server forgets the gateway when the last Envoy has left and the last host is
// withdrawn.
func (s *Server) WithdrawGateway(gateway route.Gateway) {
	s.update(func() {
		if g, ok := s.gateways[gateway]; ok {
			g.isConfigured = false
		}
	})
}

// update changes the configuration under the lock, and then renders what follows from it
// and forgets unused gateways. Before Open it assembles no shards: it would assemble
// each one for every host of it that is published.
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

// after calls change under the lock when d has passed, unless the server is closed
// before.
func (s *Server) after(d time.Duration, change func()) *time.Timer {
	return time.AfterFunc(d, func() {
		s.update(func() {
			if !s.closing {
				change()
			}
		})
	})
}

// gateway returns the gateway of that name, and makes it if there is none.
func (s *Server) gateway(name route.Gateway) *gateway {
	g, ok := s.gateways[name]
	if !ok {
		g = newGateway(s, name)
		s.gateways[name] = g
	}
	return g
}

// removeIfUnused forgets a gateway that is used no more.
func (s *Server) removeIfUnused(g *gateway) {
	if g.isUnused() {
		delete(s.gateways, g.name)
	}
}
