package server

import (
	"cmp"
	"slices"

	"github.com/fairwaynet/fairway/xds/route"
)

// Host tells the state of one host.
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

// Envoys tells the state of every connected Envoy, ordered by gateway and node.
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

// caughtUp counts the Envoys that have caught up.
func (s *Server) caughtUp() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, g := range s.gateways {
		n += g.syncedStreams
	}
	return float64(n)
}
