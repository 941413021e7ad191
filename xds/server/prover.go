package server

import (
	"container/list"
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// maxProving is how many proofs one gateway is asked for at a time. What is
	// new waits for no more than these.
	maxProving = 16
	// A proof that failed is asked for again after firstProof, then twice that,
	// up to lastProof.
	firstProof = 250 * time.Millisecond
	lastProof  = 30 * time.Second
)

// prover is a gateway's process, which shows what its Envoy serves (see package
// proof). It is not an Envoy: nothing but what is said here waits for it.
// Everything in it but the constants is guarded by Server.mu.
type prover struct {
	gateway *gateway
	node    string
	cancel  context.CancelCauseFunc
	wake    chan struct{} // holds one: there may be something to send
	had     map[string]string

	nonce    uint64
	duties   map[route.Hostname]*duty
	queue    list.List        // of *duty, the next one first
	underWay map[string]asked // by nonce
	removed  []string         // names to be forgotten
	news     bool             // it has not been told the age of the picture as it is now
	gone     bool
}

// asked is a proof that was asked for.
type asked struct {
	duty        *duty
	certificate *route.Certificate
}

// prove serves one prover until it leaves.
func (s *Server) prove(
	ctx context.Context, ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
	gateway route.Gateway, first *discoveryv3.DeltaDiscoveryRequest, lent bool,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p, err := s.newProver(cancel, gateway, first, lent)
	if err != nil {
		return err
	}
	defer s.do(p.leave)
	go func() { defer s.streaming.Done(); cancel(s.hearProver(ads, p)) }()
	go func() { defer s.streaming.Done(); cancel(s.askProver(ctx, ads, p)) }()
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

// newProver has everything proved that the gateway has, but for what the prover
// has proved to another controller, or on another stream.
func (s *Server) newProver(cancel context.CancelCauseFunc, name route.Gateway, first *discoveryv3.DeltaDiscoveryRequest, lent bool) (*prover, error) {
	if len(first.GetInitialResourceVersions()) > maxNames {
		return nil, status.Errorf(codes.InvalidArgument, "more than %d names", maxNames)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.gateways[name]
	if !ok || !g.asked {
		return nil, status.Errorf(codes.NotFound, "no gateway %q", name)
	}
	if s.closing {
		return nil, errShuttingDown
	}
	if err := s.settled(lent); err != nil {
		return nil, err
	}
	s.streaming.Add(2) // hearProver and askProver
	p := &prover{
		gateway: g, node: first.GetNode().GetId(), cancel: cancel, news: true, wake: make(chan struct{}, 1), had: first.GetInitialResourceVersions(),
		duties: make(map[route.Hostname]*duty), underWay: make(map[string]asked),
	}
	g.provers[p] = struct{}{}
	g.proveAll(p)
	for name := range p.had {
		if p.duties[route.Hostname(name)] == nil {
			p.removed = append(p.removed, name)
		}
	}
	p.poke()
	s.stay(cancel)
	s.options.Log.V(1).Info("gateway connected, to prove what it serves", "node", p.node, "gateway", g.name)
	return p, nil
}

func (s *Server) hearProver(ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, p *prover) error {
	for {
		req, err := ads.Recv()
		if err != nil {
			return err
		}
		if req.GetTypeUrl() != proof.Type {
			return status.Errorf(codes.InvalidArgument, "%s on a stream of proofs", req.GetTypeUrl())
		}
		s.do(func() { p.answered(req) })
	}
}

func (s *Server) askProver(ctx context.Context, ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, p *prover) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.wake:
		}
		for {
			var res *discoveryv3.DeltaDiscoveryResponse
			s.do(func() { res = p.next() })
			if res == nil {
				break
			}
			if err := ads.Send(res); err != nil {
				return err
			}
		}
	}
}

func (p *prover) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// tellAge has the prover told how old the picture is now.
func (p *prover) tellAge() {
	p.news = true
	p.poke()
}

// leave takes the prover out of the account. Nobody waits for it any more, unless
// it leaves because the server ends.
func (p *prover) leave() {
	p.gone = true
	if p.gateway.server.closing {
		return
	}
	delete(p.gateway.provers, p)
	for _, d := range p.duties {
		p.drop(d)
	}
}

// next is the next thing to ask the prover for, nil if there is none now.
func (p *prover) next() *discoveryv3.DeltaDiscoveryResponse {
	if p.gone {
		return nil
	}
	if p.news {
		p.news = false
		return p.response()
	}
	if len(p.removed) > 0 {
		res := p.response()
		res.RemovedResources, p.removed = p.removed, nil
		return res
	}
	for len(p.underWay) < maxProving {
		element := p.queue.Front()
		if element == nil {
			return nil
		}
		d := element.Value.(*duty)
		p.dequeue(d)
		statement, ok := p.statement(d)
		if !ok {
			continue
		}
		if version, ok := p.had[string(d.name)]; ok {
			delete(p.had, string(d.name))
			if version == statement.Version() {
				p.shown(d, d.certificate)
				continue
			}
		}
		body, err := statement.Resource()
		if err != nil { // a name that is no text
			d.impossible = true
			continue
		}
		res := p.response()
		res.Resources = []*discoveryv3.Resource{{Name: statement.Name, Version: statement.Version(), Resource: body}}
		d.busy = true
		p.underWay[res.GetNonce()] = asked{d, d.certificate}
		return res
	}
	return nil
}

func (p *prover) response() *discoveryv3.DeltaDiscoveryResponse {
	p.nonce++
	return &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: proof.Type, Nonce: strconv.FormatUint(p.nonce, 10), SystemVersionInfo: proof.Age(p.gateway.server.age()),
	}
}

// statement is what p is asked to prove of d.
func (p *prover) statement(d *duty) (proof.Statement, bool) {
	leaf, ok := proof.LeafOf(d.certificate.Chain)
	if !ok {
		d.impossible = true
		return proof.Statement{}, false
	}
	statement := proof.Statement{Name: string(d.name), Leaves: []proof.Fingerprint{leaf}}
	if d.certificate.Other != nil {
		if other, ok := proof.LeafOf(d.certificate.Other.Chain); ok {
			statement.Leaves = append(statement.Leaves, other)
		}
	}
	if settings := p.gateway.settings.ProxyProtocol; settings != nil {
		statement.Proxy, statement.From = true, settings.From
	}
	return statement, true
}

// answered takes the answer to what p was asked for.
func (p *prover) answered(req *discoveryv3.DeltaDiscoveryRequest) {
	a, ok := p.underWay[req.GetResponseNonce()]
	if !ok || p.gone {
		return
	}
	delete(p.underWay, req.GetResponseNonce())
	p.poke()
	d := a.duty
	d.busy = false
	if p.duties[d.name] != d {
		return // it is not asked for any more
	}
	refusal := req.GetErrorDetail()
	switch {
	case refusal == nil:
		p.gateway.server.metrics.proofs.WithLabelValues("proved").Inc()
		p.shown(d, a.certificate)
	case codes.Code(refusal.GetCode()) == codes.FailedPrecondition:
		d.impossible = true
		p.settle(d)
	case d.certificate.Equal(a.certificate):
		p.failed(d, refusal.GetMessage())
		return
	}
	if !d.isProved() {
		p.enqueue(d, true) // it changed meanwhile
	}
}

// isProver reports whether a stream begins as that of a prover.
func isProver(first *discoveryv3.DeltaDiscoveryRequest) bool { return first.GetTypeUrl() == proof.Type }
