package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	xdsidentity "github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/proof"
)

const (
	// Handshakes are the work of Envoy's workers, which clients wait for.
	proofsAtOnce    = 16
	proofsPerSecond = 200
	proofsInABurst  = 50

	// What is new may take a moment until Envoy has it: tries and the pause
	// before the second, which doubles.
	proofTries = 5
	proofPause = 10 * time.Millisecond

	firstReconnect = 100 * time.Millisecond
	lastReconnect  = 5 * time.Second
)

// Prover shows the controllers that Envoy serves the certificates it was sent,
// by handshakes over loopback (see package proof). In doing so it has Envoy fetch
// them: Envoy asks for a certificate when the first client wants it. Use
// NewProver.
type Prover struct {
	limit *rate.Limiter

	mu      sync.Mutex
	seen    map[string]seen // by name, of this Envoy
	picture picture
}

// NewProver is one for one Process.
func NewProver() *Prover {
	return &Prover{limit: rate.NewLimiter(proofsPerSecond, proofsInABurst)}
}

// run proves whatever a controller asks for, from when Envoy is ready until ctx
// ends. Without a controller nothing happens: what was proved stays so. A new
// Envoy has everything to prove again.
func (p *Prover) run(ctx context.Context, process *Process) {
	p.forgetAll()
	log := process.Log.WithName("proofs")
	for process.Ready(ctx) != nil {
		if !pause(ctx, 4*poll) {
			return
		}
	}
	wait := firstReconnect
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		err := p.session(ctx, process, attempt, log)
		if ctx.Err() != nil {
			return
		}
		log.V(1).Info("not connected to a controller", "reason", err.Error())
		if time.Since(began) > steady {
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

// session serves one stream until it ends. Controllers are taken in turn.
func (p *Prover) session(ctx context.Context, process *Process, attempt int, log logr.Logger) error {
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
	s := &proofStream{prover: p, ads: ads, door: &door{admin: process.Admin()}, log: log}
	first := &discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: bootstrap.Node, Cluster: bootstrap.Gateway}, InitialResourceVersions: p.versions(),
	}
	if err := s.send(first); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	free := make(chan struct{}, proofsAtOnce)
	defer p.picture.left()
	for {
		response, err := ads.Recv()
		if err != nil {
			return fmt.Errorf("hear from the controller: %w", err)
		}
		if age, ok := proof.ParseAge(response.GetSystemVersionInfo()); ok {
			p.picture.told(age)
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
	door   *door
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

// answer proves all that a response asks for, and says so.
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
	_ = s.send(request) // when the stream is over, Recv says so
}

func codeOf(err error) codes.Code {
	if errors.Is(err, errNoWayIn) {
		return codes.FailedPrecondition
	}
	return codes.Unknown
}

// text is an error as a message of protobuf may hold it.
func text(err error) string {
	if message := err.Error(); utf8.ValidString(message) {
		return message
	}
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}

// prove has a certificate seen in a handshake.
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
		found, err := s.door.show(ctx, statement)
		if err == nil {
			s.prover.note(statement, found)
			return nil
		}
		var unreachable *unreachableError
		switch {
		case errors.As(err, &unreachable):
			// That says nothing of the certificate: Envoy is being drained,
			// or has not begun to listen.
			if !pause(ctx, poll) {
				return ctx.Err()
			}
			continue
		case try == proofTries, errors.Is(err, errNoWayIn), errors.Is(err, context.DeadlineExceeded):
			return err
		case !pause(ctx, wait):
			return ctx.Err()
		}
		try, wait = try+1, 2*wait
	}
}

// connect opens a connection to a controller: the attempt-th, in turn.
func (x XDS) connect(ctx context.Context, attempt int) (*grpc.ClientConn, error) {
	network, address := "unix", x.Socket
	secured := insecure.NewCredentials()
	if x.Socket == "" {
		addresses, err := x.resolve(ctx)
		if err != nil {
			return nil, err
		}
		network, address = "tcp", addresses[attempt%len(addresses)]
		if x.TLS != nil {
			config, err := x.TLS.config()
			if err != nil {
				return nil, err
			}
			secured = credentials.NewTLS(config)
		}
	}
	return grpc.NewClient("passthrough:///controller",
		grpc.WithTransportCredentials(secured),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}),
		grpc.WithDisableServiceConfig(),
		// A controller that vanished without a word is noticed within 15 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	)
}

// resolve is the addresses of all controllers, in an order that stays: a name has
// one for each, and whoever sends us to another is not to be asked again before the others.
func (x XDS) resolve(ctx context.Context) ([]string, error) {
	var all []string
	var wrong error
	for _, address := range x.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		wrong = errors.Join(wrong, err)
		slices.Sort(found)
		for _, ip := range found {
			all = append(all, net.JoinHostPort(ip, port))
		}
	}
	if len(all) == 0 {
		return nil, errors.Join(errors.New("no address"), wrong)
	}
	return all, nil
}

// config is mutual TLS with what the files hold now.
func (t *TLS) config() (*tls.Config, error) {
	var files xdsidentity.Files
	for path, content := range map[string]*[]byte{
		t.CA: &files.CA, t.Certificate: &files.Certificate, t.Key: (*[]byte)(&files.Key),
	} {
		var err error
		if *content, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	pair, roots, err := files.Pair()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: t.ServerName, RootCAs: roots, Certificates: []tls.Certificate{pair},
	}, nil
}
