package simulated

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// errDropped ends a stream that DropAfter was told to end.
var errDropped = errors.New("dropped on purpose")

// Options say how an Envoy behaves.
type Options struct {
	Conn    grpc.ClientConnInterface
	Gateway string // the node's cluster
	Node    string // the node's id

	// Random decides all that is left open; with nil an Envoy answers at
	// once and always in the same way.
	Random *rand.Rand
	// Delay is the longest that an answer takes, drawn for each anew, so that
	// those of different types come in any order.
	Delay time.Duration
	// Warm is how long a cluster waits for its endpoints. Default 15 s.
	Warm time.Duration
	// Refuse says why a resource is refused; "" accepts it.
	Refuse func(url, name string, body []byte) string
	// Heard is called after each accepted response, by the Envoy's own
	// goroutine.
	Heard func(url string, response *discoveryv3.DeltaDiscoveryResponse)
	// Light remembers no content and checks nothing, for many Envoys at once.
	Light bool
}

// Envoy is one simulated Envoy. Its methods may be called from any goroutine.
type Envoy struct {
	options Options

	mu            sync.Mutex
	subscriptions map[string]*subscription
	config        *config
	stalled       bool
	deaf          bool
	dropAfter     string
	changed       chan struct{} // closed when anything below or above changes
	trace         trace
	violations    []string
	statistics    Statistics
	nonces        map[string]struct{} // of this stream
	inherited     map[string]struct{} // in use, from earlier streams, and unknown to the server

	life   context.CancelFunc // ends the present connection for good
	living sync.WaitGroup
}

// Statistics count what happened to an Envoy since it was made.
type Statistics struct {
	Streams   int // opened
	Dropped   int // ended by the server
	Responses int
	Resources int
	Refused   int // responses
}

// New makes an Envoy that has not connected yet.
func New(options Options) *Envoy {
	if options.Warm == 0 {
		options.Warm = 15 * time.Second
	}
	e := &Envoy{options: options, changed: make(chan struct{}), trace: trace{start: time.Now()}}
	e.forget()
	return e
}

// forget makes the Envoy a fresh process.
func (e *Envoy) forget() {
	e.subscriptions = make(map[string]*subscription, len(order))
	for _, url := range order {
		e.subscriptions[url] = newSubscription(url)
	}
	e.subscriptions[order[0]].started = true
	e.config = newConfig()
}

// Connect opens the stream, and opens it again whenever it ends, until
// Disconnect.
func (e *Envoy) Connect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.life = cancel
	e.living.Go(func() { e.live(ctx) })
}

// Disconnect ends the stream and waits for that. Envoy keeps what it has.
func (e *Envoy) Disconnect() {
	e.mu.Lock()
	if e.life != nil {
		e.life()
		e.life = nil
	}
	e.mu.Unlock()
	e.living.Wait()
}

// Restart makes the Envoy a fresh process, and connects it.
func (e *Envoy) Restart() {
	e.Disconnect()
	e.mu.Lock()
	e.trace.add("== restarted")
	e.forget()
	e.mu.Unlock()
	e.Connect()
}

// Stall lets the Envoy read, but send nothing; or again as usual.
func (e *Envoy) Stall(on bool) {
	e.update(func() { e.stalled = on; e.trace.add("== stalled: %t", on) })
}

// Deafen lets the Envoy not even read, so that its connection fills; or again
// as usual.
func (e *Envoy) Deafen(on bool) {
	e.update(func() { e.deaf = on; e.trace.add("== deaf: %t", on) })
}

// DropAfter ends the stream, once, as soon as a response of that type has taken
// effect. The Envoy reconnects.
func (e *Envoy) DropAfter(url string) { e.update(func() { e.dropAfter = url }) }

// Redirect lets the next Connect use another connection.
func (e *Envoy) Redirect(conn grpc.ClientConnInterface) {
	e.update(func() { e.options.Conn = conn; e.trace.add("== redirected") })
}

// Lookup subscribes or unsubscribes one name of a type by demand, as an
// on-demand secret is.
func (e *Envoy) Lookup(url, name string, on bool) {
	e.update(func() {
		wanted := maps.Clone(e.subscriptions[url].wanted)
		delete(wanted, name)
		if on {
			wanted[name] = struct{}{}
		}
		e.subscriptions[url].want(wanted)
	})
}

// update runs f under the lock, and wakes the goroutines that wait for a change.
func (e *Envoy) update(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
	e.wake()
}

func (e *Envoy) wake() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// Await waits until ok holds, looking again whenever something happens to the
// Envoy. It reports whether it does.
func (e *Envoy) Await(ctx context.Context, ok func() bool) bool {
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		if ok() {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ok()
		}
	}
}

// live keeps a stream open.
func (e *Envoy) live(ctx context.Context) {
	const pause = 5 * time.Millisecond
	for {
		err := e.stream(ctx)
		if ctx.Err() != nil {
			e.update(func() { e.trace.add("== disconnected") })
			return
		}
		e.update(func() { e.statistics.Dropped++; e.trace.add("== dropped: %v", err) })
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// stream is the life of one stream.
func (e *Envoy) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(e.options.Conn).DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	e.update(func() {
		e.statistics.Streams++
		e.nonces = make(map[string]struct{})
		for _, s := range e.subscriptions {
			s.fresh()
		}
		e.inherit()
		e.trace.add("== stream")
	})
	sender.Go(func() { e.send(ctx, stream) })
	for e.hears(ctx) {
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		drop := false
		e.update(func() {
			e.receive(response)
			if drop = e.dropAfter == response.GetTypeUrl(); drop {
				e.dropAfter = ""
				e.statistics.Dropped-- // our own doing
			}
		})
		if drop {
			return errDropped
		}
	}
	return ctx.Err() //nolint:wrapcheck // the end that was asked for
}

// hears waits while the Envoy is deaf.
func (e *Envoy) hears(ctx context.Context) bool {
	return e.Await(ctx, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return !e.deaf
	}) && ctx.Err() == nil
}

// send sends what is to be sent, as soon as it is due.
func (e *Envoy) send(ctx context.Context, stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient) {
	for ctx.Err() == nil {
		e.mu.Lock()
		request, wait := e.next(time.Now())
		changed := e.changed
		e.mu.Unlock()
		if request != nil {
			request.Node = e.node()
			if stream.Send(request) != nil {
				return // the receiver says why
			}
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (e *Envoy) node() *corev3.Node {
	return &corev3.Node{
		Id:            e.options.Node,
		Cluster:       e.options.Gateway,
		UserAgentName: "envoy",
		UserAgentVersionType: &corev3.Node_UserAgentBuildVersion{UserAgentBuildVersion: &corev3.BuildVersion{
			Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 40},
		}},
	}
}

// next is the next request that may leave now, or how long there is none if
// nothing happens. First requests and changes of a subscription leave before
// answers do.
func (e *Envoy) next(now time.Time) (*discoveryv3.DeltaDiscoveryRequest, time.Duration) {
	if e.stalled {
		return nil, time.Hour
	}
	wait := e.rewarm(now)
	for _, url := range order {
		s := e.subscriptions[url]
		if !s.started || e.paused(url) {
			continue
		}
		request := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: url}
		switch {
		case !s.requested:
			request = s.first()
		case !s.change(request):
			continue
		}
		e.traceRequest(request)
		return request, 0
	}
	return e.due(now, wait)
}

// due is the answer that has waited longest.
func (e *Envoy) due(now time.Time, wait time.Duration) (*discoveryv3.DeltaDiscoveryRequest, time.Duration) {
	var next *subscription
	for _, url := range order {
		s := e.subscriptions[url]
		if len(s.answers) > 0 && !e.paused(url) && (next == nil || s.answers[0].due.Before(next.answers[0].due)) {
			next = s
		}
	}
	if next == nil {
		return nil, wait
	}
	if request := next.answer(now); request != nil {
		e.traceRequest(request)
		return request, 0
	}
	return nil, min(wait, next.answers[0].due.Sub(now))
}

func (e *Envoy) traceRequest(r *discoveryv3.DeltaDiscoveryRequest) {
	line := "<- " + kind(r.GetTypeUrl())
	switch {
	case r.GetErrorDetail() != nil:
		line += fmt.Sprintf(" NACK %s: %.200s", r.GetResponseNonce(), r.GetErrorDetail().GetMessage())
	case r.GetResponseNonce() != "":
		line += " ACK " + r.GetResponseNonce()
	default:
		line += fmt.Sprintf(" +%s -%s", some(r.GetResourceNamesSubscribe()), some(r.GetResourceNamesUnsubscribe()))
		if n := len(r.GetInitialResourceVersions()); n > 0 {
			line += fmt.Sprintf(" has %d", n)
		}
	}
	e.trace.add("%s", line)
}
