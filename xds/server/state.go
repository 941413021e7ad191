package server

import (
	"cmp"
	"slices"
	"time"

	"github.com/fairwaynet/fairway/xds/route"
)

// HostState is the state of one host.
type HostState struct {
	// Value is the published value; nil: none. It must not be changed.
	Value       *route.Host
	Published   bool   // a controller published it
	Served      bool   // every synced Envoy (at least one) ACKed the newest value
	Rejected    string // Envoy's message, if the newest value was refused
	WaitingFor  string // tells people what its release waits for; empty: nothing
	Withdrawing bool   // it was withdrawn, and some synced Envoy has not ACKed that
	// NoEnvoys says that no Envoy of the gateway is synced. Then nothing waits for an
	// Envoy, and no host is told to be served.
	NoEnvoys bool
	// ProofPending says that a gateway has yet to show the host's certificate, which
	// is new. The observer hears HostServed again when that is over.
	ProofPending bool
}

// Host returns the state of one host.
func (s *Server) Host(key route.Key) HostState {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.gateways[key.Gateway]
	if !ok {
		return HostState{NoEnvoys: true}
	}
	h, ok := g.hosts[key.Host]
	switch {
	case !ok:
		return HostState{NoEnvoys: g.syncedStreams == 0}
	case h.wanted == nil:
		return HostState{Withdrawing: true, NoEnvoys: g.syncedStreams == 0}
	}
	return HostState{
		Published:    h.wanted.value.Answers(),
		Value:        h.wanted.value,
		Served:       g.syncedStreams > 0 && h.reported == h.wanted,
		Rejected:     h.wanted.refused,
		WaitingFor:   h.waitingFor,
		NoEnvoys:     g.syncedStreams == 0,
		ProofPending: g.awaitsProof(key.Host),
	}
}

// EnvoyState is the state of one connected Envoy.
type EnvoyState struct {
	Gateway route.Gateway
	Node    string // node id
	Address string // peer address of the stream
	Version string // of Envoy
	Synced  bool   // it has the whole configuration
	Pending int    // resources that it has not ACKed at their newest version
	Since   time.Time
}

// Envoys returns the state of every connected Envoy, ordered by gateway and node.
func (s *Server) Envoys() []EnvoyState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var states []EnvoyState
	for _, g := range s.gateways {
		for stream := range g.streams {
			state := EnvoyState{
				Gateway: g.name,
				Node:    stream.node,
				Address: stream.address,
				Version: stream.version,
				Synced:  stream.synced,
				Since:   stream.since,
			}
			for k := range stream.subscriptions {
				state.Pending += stream.subscriptions[k].countPending()
			}
			states = append(states, state)
		}
	}
	slices.SortFunc(states, func(a, b EnvoyState) int {
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Node, b.Node), a.Since.Compare(b.Since))
	})
	return states
}

// caughtUp counts the synced Envoys.
func (s *Server) caughtUp() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, g := range s.gateways {
		n += g.syncedStreams
	}
	return float64(n)
}
