package server

import (
	"context"
	"errors"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fairwaynet/fairway/xds/route"
)

// A server whose configuration is not complete yet, or is stale, is the last choice of
// an Envoy, and still a choice.

const (
	// openTimeout is how long a stream waits for the first configuration before it is
	// sent to another server.
	openTimeout = time.Second
	// attemptTTL is how long an attempt counts. An Envoy tries again after 5 s at most.
	attemptTTL = 15 * time.Second
	// minLastResortStay is how long a peer that was admitted as a last resort is kept,
	// at least.
	minLastResortStay = time.Minute
	// maxAttempts bounds the peers that are remembered.
	maxAttempts = 10_000
)

// errStale ends a stream whose Envoy should look for a server with a newer
// configuration.
var errStale = errors.New("the configuration here cannot be kept up to date: ask another server") // a constant

// SetStale says that the configuration cannot be kept up to date since a moment. The
// server ends all streams, so that Envoys look for another server. It turns away every
// Envoy that comes, until that has tried for Options.LastResortAfter and so found no
// other server. Then it admits the Envoy, and ends its stream after a while.
func (s *Server) SetStale(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.staleSince
	s.staleSince = since
	if !before.IsZero() {
		return
	}
	for _, g := range s.gateways {
		for stream := range g.streams {
			stream.cancel(errStale)
		}
		for p := range g.proofStreams {
			p.cancel(errStale)
		}
	}
}

// SetFresh ends the effect of SetStale. Envoys that were admitted stay.
func (s *Server) SetFresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staleSince, s.turnedAway = time.Time{}, nil
	for _, g := range s.gateways {
		for p := range g.proofStreams {
			p.session.AgeChanged()
		}
	}
}

// admit waits until a peer may be served, or returns the reason why it is turned away.
// lastResort says that the peer is admitted only because it found no better server.
func (s *Server) admit(ctx context.Context, first *discoveryv3.DeltaDiscoveryRequest) (lastResort bool, err error) {
	soon := time.NewTimer(openTimeout)
	defer soon.Stop()
	select {
	case <-s.opened:
	case <-soon.C:
	case <-s.closed:
	case <-ctx.Done():
	}
	if lastResort, err = s.admitLastResort(peerKeyOf(first)); err != nil {
		return false, err
	}
	select {
	case <-s.opened:
		return lastResort, nil
	case <-s.closed:
		return false, errShuttingDown
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// admitLastResort decides whether a peer is admitted, and whether only as a last resort.
func (s *Server) admitLastResort(who peerKey) (lastResort bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open && s.staleSince.IsZero() || s.closing {
		return false, nil
	}
	now := s.now()
	v, known := s.turnedAway[who]
	if !known || now.Sub(v.last) > attemptTTL {
		v.first = now
	}
	v.last = now
	if now.Sub(v.first) >= s.options.LastResortAfter {
		delete(s.turnedAway, who)
		return true, nil
	}
	s.rememberAttempt(who, v)
	return false, s.turnAway()
}

// peerKey identifies an Envoy, or its prover, over several streams.
type peerKey struct {
	gateway  route.Gateway
	node     string
	isProver bool
}

func peerKeyOf(first *discoveryv3.DeltaDiscoveryRequest) peerKey {
	return peerKey{gatewayOf(first.GetNode()), first.GetNode().GetId(), isProver(first)}
}

// attempts are the times of the first and the last attempt of a peer that was turned
// away.
type attempts struct{ first, last time.Time }

// rememberAttempt remembers an attempt of a peer. There is a bound: when it is reached,
// old attempts are forgotten, and if there are none, the new one is not remembered.
func (s *Server) rememberAttempt(who peerKey, v attempts) {
	if s.turnedAway == nil {
		s.turnedAway = make(map[peerKey]attempts)
	}
	if _, known := s.turnedAway[who]; !known && len(s.turnedAway) >= maxAttempts {
		for other, v := range s.turnedAway {
			if s.now().Sub(v.last) > attemptTTL {
				delete(s.turnedAway, other)
			}
		}
		if len(s.turnedAway) >= maxAttempts {
			return
		}
	}
	s.turnedAway[who] = v
}

// recheckStale turns an admitted peer away after all, if the configuration has become
// stale meanwhile.
func (s *Server) recheckStale(lastResort bool) error {
	if s.staleSince.IsZero() || lastResort {
		return nil
	}
	return s.turnAway()
}

// turnAway is the error of a stream that should go to another server.
func (s *Server) turnAway() error {
	s.metrics.sentElsewhere.Inc()
	return status.Error(codes.Unavailable, errStale.Error())
}

// limitStay bounds how long a peer that was just admitted is kept while the
// configuration is stale.
func (s *Server) limitStay(cancel context.CancelCauseFunc) {
	if s.staleSince.IsZero() {
		return
	}
	s.after(max(minLastResortStay, s.now().Sub(s.staleSince)/2), func() {
		if !s.staleSince.IsZero() {
			cancel(errStale)
		}
	})
}

// snapshotAge is how old the configuration may be: 0 while it is kept up to date.
func (s *Server) snapshotAge() time.Duration {
	if s.staleSince.IsZero() {
		return 0
	}
	return s.now().Sub(s.staleSince)
}

// authorize refuses a peer that may not have the gateway that it asks for. The error
// does not tell whether there is such a gateway.
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

// addressOf is the address of a stream's peer.
func addressOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}
