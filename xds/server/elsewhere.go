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
	openSoon = time.Second
	// forgotten is after how long it does not count any more that somebody came.
	// An Envoy tries again after 5 s at most.
	forgotten = 15 * time.Second
	// leastStay is how long one that was let in all the same is kept, at least.
	leastStay = time.Minute
	// maxSeekers bounds who is remembered.
	maxSeekers = 10_000
)

// errElsewhere ends a stream that shall look for a server that knows more.
var errElsewhere = errors.New("the picture here cannot be kept up to date: ask another server") // a constant

// seeker is who came and was sent to another server: an Envoy, or its prover.
type seeker struct {
	gateway route.Gateway
	node    string
	proves  bool
}

func seekerOf(first *discoveryv3.DeltaDiscoveryRequest) seeker {
	return seeker{gatewayOf(first.GetNode()), first.GetNode().GetId(), isProver(first)}
}

// visits are from when to when it came, again and again.
type visits struct{ first, last time.Time }

// Stale says that since a moment the picture cannot be kept up to date. Envoys
// are sent to other servers: their streams end, and one that comes is turned away
// until it has asked for Options.LastResort, and so has found no other. Then it is
// let in, to be sent away again after a while.
func (s *Server) Stale(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.stale
	s.stale = since
	if !before.IsZero() {
		return
	}
	for _, g := range s.gateways {
		for stream := range g.streams {
			stream.cancel(errElsewhere)
		}
		for p := range g.provers {
			p.cancel(errElsewhere)
		}
	}
}

// Fresh ends what Stale said. Those who were let in stay.
func (s *Server) Fresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale, s.seekers = time.Time{}, nil
	for _, g := range s.gateways {
		for p := range g.provers {
			p.session.AgeChanged()
		}
	}
}

// admit waits until one that came may be served, or says that it is to ask
// another server. It is lent a place where it would be better off elsewhere.
func (s *Server) admit(ctx context.Context, first *discoveryv3.DeltaDiscoveryRequest) (lent bool, err error) {
	soon := time.NewTimer(openSoon)
	defer soon.Stop()
	select {
	case <-s.opened:
	case <-soon.C:
	case <-s.closed:
	case <-ctx.Done():
	}
	if lent, err = s.lend(seekerOf(first)); err != nil {
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
func (s *Server) settled(lent bool) error {
	if s.stale.IsZero() || lent {
		return nil
	}
	return s.elsewhere()
}

func (s *Server) elsewhere() error {
	s.metrics.elsewhere.Inc()
	return status.Error(codes.Unavailable, errElsewhere.Error())
}

// lend decides whether one that came is let in, and whether only because it has
// found no other server.
func (s *Server) lend(who seeker) (lent bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open && s.stale.IsZero() || s.closing {
		return false, nil
	}
	now := s.now()
	v, known := s.seekers[who]
	if !known || now.Sub(v.last) > forgotten {
		v.first = now
	}
	v.last = now
	if now.Sub(v.first) >= s.options.LastResort {
		delete(s.seekers, who)
		return true, nil
	}
	s.remember(who, v)
	return false, s.elsewhere()
}

// remember is bounded: when it is full, those who came long ago are forgotten,
// and if there are none, so is who has just come.
func (s *Server) remember(who seeker, v visits) {
	if s.seekers == nil {
		s.seekers = make(map[seeker]visits)
	}
	if _, known := s.seekers[who]; !known && len(s.seekers) >= maxSeekers {
		for other, v := range s.seekers {
			if s.now().Sub(v.last) > forgotten {
				delete(s.seekers, other)
			}
		}
		if len(s.seekers) >= maxSeekers {
			return
		}
	}
	s.seekers[who] = v
}

// stay bounds how long one that was just let in is kept while the picture is
// stale.
func (s *Server) stay(cancel context.CancelCauseFunc) {
	if s.stale.IsZero() {
		return
	}
	s.after(max(leastStay, s.now().Sub(s.stale)/2), func() {
		if !s.stale.IsZero() {
			cancel(errElsewhere)
		}
	})
}

// age is how old the picture may be: 0 while it is kept up to date.
func (s *Server) age() time.Duration {
	if s.stale.IsZero() {
		return 0
	}
	return s.now().Sub(s.stale)
}
