package server

import "fmt"

// Pending tells what keeps Envoys from being at the newest picture, for the
// messages of tests.
func (s *Server) Pending() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending []string
	for _, g := range s.gateways {
		for stream := range g.streams {
			for k := range stream.subscriptions {
				for r, l := range stream.subscriptions[k].lacks {
					pending = append(pending, fmt.Sprintf("%s lacks %s %s: exists %t at %q/%d, %+v, waits for an answer %t",
						stream.node, kind(k), r.name, r.exists(), r.version, r.seq, *l, stream.subscriptions[k].inflight != nil))
				}
			}
		}
	}
	return pending
}
