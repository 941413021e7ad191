package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairwaynet/fairway/xds/proof"
)

const (
	// The bounds of handshakes: they take time of Envoy's workers, which clients need.
	proofsAtOnce    = 16
	proofsPerSecond = 200
	proofsInABurst  = 50

	// A new certificate may take a moment until Envoy has it. These are the number of
	// tries and the pause before the second one, which doubles.
	proofTries = 5
	proofPause = 10 * time.Millisecond

	firstReconnect = 100 * time.Millisecond
	lastReconnect  = 5 * time.Second
)

// Prover proves to the controllers that Envoy serves the certificates it was sent, by
// handshakes over loopback (see package proof). The handshakes also make Envoy fetch the
// certificates: Envoy asks for one when the first client needs it. Use NewProver.
type Prover struct {
	limit *rate.Limiter

	mu     sync.Mutex
	served map[string]servedCertificate // by name, of the present Envoy
	age    configAge
}

// NewProver makes the prover of one Process.
func NewProver() *Prover {
	return &Prover{limit: rate.NewLimiter(proofsPerSecond, proofsInABurst)}
}

// run proves the certificates that controllers ask for, from the time that Envoy is ready
// until ctx ends. Proofs stay valid while no controller is connected. A new Envoy has to
// prove everything again.
func (p *Prover) run(ctx context.Context, process *Process) {
	p.forgetAll()
	log := process.Log.WithName("proofs")
	for process.Ready(ctx) != nil {
		if !pause(ctx, 4*pollInterval) {
			return
		}
	}
	wait := firstReconnect
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		err := p.serveStream(ctx, process, attempt, log)
		if ctx.Err() != nil {
			return
		}
		log.V(1).Info("not connected to a controller", "reason", err.Error())
		if time.Since(began) > stableAfter {
			wait = firstReconnect
		}
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, lastReconnect)
	}
}

// pause waits for d, and returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// serveStream serves one stream until it ends. Controllers are taken in turn.
func (p *Prover) serveStream(ctx context.Context, process *Process, attempt int, log logr.Logger) error {
	bootstrap := &process.Bootstrap
	connection, err := bootstrap.XDS.connect(ctx, attempt)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer connection.Close() //nolint:errcheck // nothing is lost with it
	ctx, cancel := context.WithCancel(ctx)
	var proving sync.WaitGroup
	defer proving.Wait()
	defer cancel()
	ads, err := discoveryv3.NewAggregatedDiscoveryServiceClient(connection).DeltaAggregatedResources(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	s := &proofStream{prover: p, ads: ads, probe: &handshakeProbe{admin: process.Admin()}, log: log}
	first := &discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: bootstrap.Node, Cluster: bootstrap.Gateway}, InitialResourceVersions: p.versions(),
	}
	if err := s.send(first); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	free := make(chan struct{}, proofsAtOnce)
	defer p.age.disconnected()
	for {
		response, err := ads.Recv()
		if err != nil {
			return fmt.Errorf("hear from the controller: %w", err)
		}
		if age, ok := proof.ParseAge(response.GetSystemVersionInfo()); ok {
			p.age.report(age)
		}
		p.forget(response.GetRemovedResources())
		if len(response.GetResources()) == 0 {
			continue
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		proving.Go(func() {
			defer func() { <-free }()
			s.answer(ctx, response)
		})
	}
}

// proofStream is a stream of proofs under way.
type proofStream struct {
	prover *Prover
	probe  *handshakeProbe
	log    logr.Logger

	mu  sync.Mutex // of Send
	ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (s *proofStream) send(request *discoveryv3.DeltaDiscoveryRequest) error {
	request.TypeUrl = proof.Type
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ads.Send(request)
}

// answer proves the certificates of a response, and answers it.
func (s *proofStream) answer(ctx context.Context, response *discoveryv3.DeltaDiscoveryResponse) {
	request := &discoveryv3.DeltaDiscoveryRequest{ResponseNonce: response.GetNonce()}
	for _, resource := range response.GetResources() {
		err := s.prove(ctx, resource)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.V(1).Info("a certificate is not served", "name", resource.GetName(), "reason", err.Error())
			request.ErrorDetail = &statuspb.Status{Code: int32(codeOf(err)), Message: text(err)}
			break
		}
	}
	_ = s.send(request) // Recv returns the error if the stream is over
}

func codeOf(err error) codes.Code {
	if errors.Is(err, errNoAllowedSource) {
		return codes.FailedPrecondition
	}
	return codes.Unknown
}

// text is an error as valid UTF-8, which protobuf demands.
func text(err error) string {
	if message := err.Error(); utf8.ValidString(message) {
		return message
	}
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}

// prove looks for a certificate in handshakes.
func (s *proofStream) prove(ctx context.Context, resource *discoveryv3.Resource) error {
	statement, err := proof.Parse(resource.GetName(), resource.GetResource())
	if err != nil {
		return err
	}
	wait := proofPause
	for try := 1; ; {
		if err := s.prover.limit.Wait(ctx); err != nil {
			return err
		}
		found, err := s.probe.verify(ctx, statement)
		if err == nil {
			s.prover.record(statement, found)
			return nil
		}
		var unreachable *unreachableError
		switch {
		case errors.As(err, &unreachable):
			// That says nothing about the certificate: Envoy is draining, or does not
			// listen yet.
			if !pause(ctx, pollInterval) {
				return ctx.Err()
			}
			continue
		case try == proofTries, errors.Is(err, errNoAllowedSource), errors.Is(err, context.DeadlineExceeded):
			return err
		case !pause(ctx, wait):
			return ctx.Err()
		}
		try, wait = try+1, 2*wait
	}
}
