package server

import (
	"context"
	"errors"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairwaynet/fairway/xds/route"
)

// A server whose picture is not there yet, or cannot be kept up to date, is the
// last choice of an Envoy, and still one.
const (
	// openSoon is how long a stream waits for the first picture before it is sent
	// to another server.
	openTimeout = time.Second
	// forgotten is after how long it does not count any more that somebody came.
	// An Envoy tries again after 5 s at most.
	attemptTTL = 15 * time.Second
	// leastStay is how long one that was let in all the same is kept, at least.
	minLastResortStay = time.Minute
	// maxSeekers bounds who is remembered.
	maxAttempts = 10_000
)

// errElsewhere ends a stream that shall look for a server that knows more.
var errStale = errors.New("the picture here cannot be kept up to date: ask another server") // a constant

// seeker is who came and was sent to another server: an Envoy, or its prover.
type peerKey struct {
	gateway  route.Gateway
	node     string
	isProver bool
}

func peerKeyOf(first *discoveryv3.DeltaDiscoveryRequest) peerKey {
	return peerKey{gatewayOf(first.GetNode()), first.GetNode().GetId(), isProver(first)}
}

// visits are from when to when it came, again and again.
type attempts struct{ first, last time.Time }

// Stale says that since a moment the picture cannot be kept up to date. Envoys
// are sent to other servers: their streams end, and one that comes is turned away
// until it has asked for Options.LastResort, and so has found no other. Then it is
// let in, to be sent away again after a while.
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

// Fresh ends what Stale said. Those who were let in stay.
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

// admit waits until one that came may be served, or says that it is to ask
// another server. It is lent a place where it would be better off elsewhere.
func (s *Server) admit(ctx context.Context, first *discoveryv3.DeltaDiscoveryRequest) (lent bool, err error) {
	soon := time.NewTimer(openTimeout)
	defer soon.Stop()
	select {
	case <-s.opened:
	case <-soon.C:
	case <-s.closed:
	case <-ctx.Done():
	}
	if lent, err = s.admitLastResort(peerKeyOf(first)); err != nil {
		return false, err
	}
	select {
	case <-s.opened:
		return lent, nil
	case <-s.closed:
		return false, errShuttingDown
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// settled says that one that was admitted is to go elsewhere nevertheless: the
// picture has become stale meanwhile.
func (s *Server) recheckStale(lent bool) error {
	if s.staleSince.IsZero() || lent {
		return nil
	}
	return s.turnAway()
}

func (s *Server) turnAway() error {
	s.metrics.sentElsewhere.Inc()
	return status.Error(codes.Unavailable, errStale.Error())
}

// lend decides whether one that came is let in, and whether only because it has
// found no other server.
func (s *Server) admitLastResort(who peerKey) (lent bool, err error) {
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

// remember is bounded: when it is full, those who came long ago are forgotten,
// and if there are none, so is who has just come.
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

// stay bounds how long one that was just let in is kept while the picture is
// stale.
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

// age is how old the picture may be: 0 while it is kept up to date.
func (s *Server) snapshotAge() time.Duration {
	if s.staleSince.IsZero() {
		return 0
	}
	return s.now().Sub(s.staleSince)
}
