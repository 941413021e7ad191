package server

import (
	"context"
	"errors"
	"io"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairwaynet/fairway/xds/route"
)

// DeltaAggregatedResources serves one Envoy, or one prover, until it leaves.
func (s *Server) DeltaAggregatedResources(ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx, cancel := context.WithCancelCause(ads.Context())
	defer cancel(nil)
	first, err := s.firstRequest(ctx, ads)
	if err != nil {
		return err
	}
	lastResort, err := s.admit(ctx, first)
	if err != nil {
		return err
	}
	if isProver(first) {
		return s.serveProver(ctx, ads, gatewayOf(first.GetNode()), first, lastResort)
	}
	stream, err := s.join(ctx, cancel, first, lastResort)
	if err != nil {
		return err
	}
	defer s.update(stream.leave)
	// Only returning from here interrupts Recv and Send.
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

// firstRequest waits for the first request, which names the node, and authorizes it.
func (s *Server) firstRequest(
	ctx context.Context, ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
) (*discoveryv3.DeltaDiscoveryRequest, error) {
	var first *discoveryv3.DeltaDiscoveryRequest
	heard := make(chan error, 1)
	if !s.trackStream() {
		return nil, errShuttingDown
	}
	// Only the end of the stream interrupts Recv.
	go func() {
		defer s.streaming.Done()
		var err error
		first, err = ads.Recv()
		heard <- err
	}()
	patience := time.NewTimer(s.options.SyncTimeout)
	defer patience.Stop()
	select {
	case <-s.closed:
		return nil, errShuttingDown
	case <-patience.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "the stream sent no request within %s", s.options.SyncTimeout)
	case err := <-heard:
		if err != nil {
			return nil, err
		}
	}
	return first, s.authorize(ctx, first.GetNode())
}

// join adds an Envoy to its gateway. lastResort says that it was admitted to a stale
// server.
func (s *Server) join(ctx context.Context, cancel context.CancelCauseFunc, first *discoveryv3.DeltaDiscoveryRequest, lastResort bool) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.gateways[gatewayOf(first.GetNode())]
	if !ok || !g.isConfigured {
		return nil, status.Errorf(codes.NotFound, "no gateway %q (an Envoy's gateway is its node's cluster)", gatewayOf(first.GetNode()))
	}
	if s.closing {
		return nil, errShuttingDown
	}
	if err := s.recheckStale(lastResort); err != nil {
		return nil, err
	}
	s.streaming.Add(2) // receive and send
	stream := g.newStream(ctx, cancel, first.GetNode(), s.now())
	s.limitStay(cancel)
	s.options.Log.Info("envoy connected", "node", stream.node, "gateway", g.name, "address", stream.address, "version", stream.version)
	return stream, nil
}

// gatewayOf is the gateway of a node: its cluster.
func gatewayOf(node *corev3.Node) route.Gateway { return route.Gateway(node.GetCluster()) }

// receive handles requests until the stream ends.
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

// send sends responses whenever there are any, until ctx ends.
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

// countResponse adds a response to the metrics.
func (s *Server) countResponse(res *discoveryv3.DeltaDiscoveryResponse) {
	k, _ := kindOf(res.GetTypeUrl())
	size := 0
	for _, r := range res.GetResources() {
		size += len(r.GetResource().GetValue())
	}
	s.metrics.responses.WithLabelValues(k.String()).Inc()
	s.metrics.bytes.WithLabelValues(k.String()).Add(float64(size))
}
