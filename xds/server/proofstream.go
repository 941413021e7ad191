package server

import (
	"context"
	"errors"
	"io"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/proof/verifier"
	"github.com/fairwaynet/fairway/xds/route"
)

// proofStream is the stream of a prover: a gateway's process, which shows the
// certificates that its Envoy serves (see package proof). It is not an Envoy: only
// proofs wait for it.
type proofStream struct {
	gateway *gateway
	node    string
	cancel  context.CancelCauseFunc
	wake    chan struct{} // holds one: there may be something to send
	session *verifier.Session
}

// isProver reports whether the peer of a stream is a prover, by its first request.
func isProver(first *discoveryv3.DeltaDiscoveryRequest) bool { return first.GetTypeUrl() == proof.Type }

// serveProver serves one prover until it leaves.
func (s *Server) serveProver(
	ctx context.Context, ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
	gateway route.Gateway, first *discoveryv3.DeltaDiscoveryRequest, lastResort bool,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p, err := s.joinProver(cancel, gateway, first, lastResort)
	if err != nil {
		return err
	}
	defer s.update(p.leave)
	go func() { defer s.streaming.Done(); cancel(s.receiveProofs(ads, p)) }()
	go func() { defer s.streaming.Done(); cancel(s.sendQuestions(ctx, ads, p)) }()
	select {
	case <-s.closed:
		return errShuttingDown
	case <-ctx.Done():
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, io.EOF) {
		return status.Error(codes.Aborted, cause.Error())
	}
	return nil
}

// joinProver adds a prover to its gateway.
func (s *Server) joinProver(
	cancel context.CancelCauseFunc, name route.Gateway, first *discoveryv3.DeltaDiscoveryRequest, lastResort bool,
) (*proofStream, error) {
	if len(first.GetInitialResourceVersions()) > maxNames {
		return nil, status.Errorf(codes.InvalidArgument, "more than %d names", maxNames)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.gateways[name]
	if !ok || !g.isConfigured {
		return nil, status.Errorf(codes.NotFound, "no gateway %q", name)
	}
	if s.closing {
		return nil, errShuttingDown
	}
	if err := s.recheckStale(lastResort); err != nil {
		return nil, err
	}
	s.streaming.Add(2) // receiveProofs and sendQuestions
	p := &proofStream{gateway: g, node: first.GetNode().GetId(), cancel: cancel, wake: make(chan struct{}, 1)}
	p.session = g.verifier.Connect(p.node, first.GetInitialResourceVersions(), g.certificatesToVerify(), p.wakeSender)
	g.proofStreams[p] = struct{}{}
	s.limitStay(cancel)
	s.options.Log.V(1).Info("gateway connected, to prove what it serves", "node", p.node, "gateway", g.name)
	return p, nil
}

// leave removes a prover that has disconnected. Nothing waits for it any more, unless
// the server itself ends.
func (p *proofStream) leave() {
	if p.gateway.server.closing {
		p.session.Stop()
		return
	}
	delete(p.gateway.proofStreams, p)
	p.session.Leave()
}

// poke wakes sendQuestions.
func (p *proofStream) wakeSender() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// receiveProofs handles answers until the stream ends.
func (s *Server) receiveProofs(ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, p *proofStream) error {
	for {
		req, err := ads.Recv()
		if err != nil {
			return err
		}
		if req.GetTypeUrl() != proof.Type {
			return status.Errorf(codes.InvalidArgument, "%s on a stream of proofs", req.GetTypeUrl())
		}
		s.update(func() { p.handleAnswer(req) })
	}
}

// handleAnswer handles the answer to a question.
func (p *proofStream) handleAnswer(req *discoveryv3.DeltaDiscoveryRequest) {
	nonce, refusal := req.GetResponseNonce(), req.GetErrorDetail()
	switch {
	case refusal == nil:
		p.session.Proved(nonce)
	case codes.Code(refusal.GetCode()) == codes.FailedPrecondition:
		p.session.Impossible(nonce)
	default:
		p.session.Failed(nonce, refusal.GetMessage())
	}
}

// sendQuestions sends the verifier's questions whenever there are any, until ctx ends.
func (s *Server) sendQuestions(ctx context.Context, ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, p *proofStream) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.wake:
		}
		for {
			var res *discoveryv3.DeltaDiscoveryResponse
			s.update(func() { res = p.next() })
			if res == nil {
				break
			}
			if err := ads.Send(res); err != nil {
				return err
			}
		}
	}
}

// next returns the next question as a response; nil: there is none now. Each response
// tells the age of the configuration.
func (p *proofStream) next() *discoveryv3.DeltaDiscoveryResponse {
	question, ok := p.session.Next()
	if !ok {
		return nil
	}
	res := &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: proof.Type, Nonce: question.Nonce, RemovedResources: question.Removed,
		SystemVersionInfo: proof.Age(p.gateway.server.snapshotAge()),
	}
	if question.Name != "" {
		res.Resources = []*discoveryv3.Resource{{Name: question.Name, Version: question.Version, Resource: question.Body}}
	}
	return res
}
