package server

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/fairwaynet/fairway/test/census"
	"github.com/fairwaynet/fairway/xds/proof/verifier"
	"github.com/fairwaynet/fairway/xds/route"
)

// Pending tells why Envoys do not have the newest configuration, for the
// messages of tests.
func (s *Server) Pending() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending []string
	for _, g := range s.gateways {
		for stream := range g.streams {
			for k := range stream.subscriptions {
				for r, l := range stream.subscriptions[k].pending {
					pending = append(pending, fmt.Sprintf("%s lacks %s %s: exists %t at %q/%d, %+v, waits for an answer %t",
						stream.node, kind(k), r.name, r.exists(), r.version, r.seq, *l, stream.subscriptions[k].inflight != nil))
				}
			}
		}
	}
	return pending
}

// Holders tells which versions of which hosts keep a cluster, for the messages
// of tests.
func (s *Server) Holders(cluster string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var holders []string
	for _, g := range s.gateways {
		for _, c := range g.clusters {
			if c.cds.name == cluster {
				holders = append(holders, fmt.Sprintf("%d references, retires %t, refused %q", c.refs, c.removeTimer != nil, c.refused))
			}
		}
		for name, h := range g.hosts {
			versions := map[string]*version{"wanted": h.wanted, "released": h.released, "good": h.lastGood}
			for i, v := range h.past {
				versions[fmt.Sprint("past ", i)] = v
			}
			for role, v := range versions {
				for _, c := range v.named() {
					if c.cds.name == cluster {
						holders = append(holders, fmt.Sprintf("%s %s, waiting for %q, refused %q", role, name, h.waitingFor, v.refused))
					}
				}
			}
		}
	}
	return holders
}

func (v *version) named() []*cluster {
	if v == nil {
		return nil
	}
	return v.clusters
}

// HasGateway reports whether there is anything of the gateway.
func (s *Server) HasGateway(gateway route.Gateway) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gateways[gateway] != nil
}

// WaitingHosts tells which hosts wait for something, and which resources keep hosts
// that do not wait for them.
func (s *Server) WaitingHosts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var waiting []string
	for _, g := range s.gateways {
		for name, h := range g.hosts {
			if h.waitingFor != "" || h.wanted == nil || h.chainPending || h.heldBack {
				waiting = append(waiting, fmt.Sprintf("%s %s waits for %q: wanted %t, moved %t, held back %t",
					g.name, name, h.waitingFor, h.wanted != nil, h.chainPending, h.heldBack))
			}
		}
		for k := range g.resources {
			for _, r := range g.resources[k] {
				for h := range r.waiters {
					if g.hosts[h.key.Host] != h || !slices.Contains(h.waitsOn, r) {
						waiting = append(waiting, fmt.Sprintf("%s %s keeps %s", kind(k), r.name, h.key))
					}
				}
			}
		}
	}
	return waiting
}

// WrongChains tells which filter chains are not those that follow at once from the hosts
// and certificates of a gateway.
func (s *Server) WrongChains() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var wrong []string
	for _, g := range s.gateways {
		fresh := &gateway{name: g.name, server: s, hosts: g.hosts, serverNames: route.NewServerNames(), verifier: verifier.New(verifier.Config{})}
		moved := map[*host]bool{}
		for _, h := range g.hosts {
			moved[h], h.chainPending = h.chainPending, true // which keeps rechained from noting it
		}
		for name := range g.hosts {
			fresh.hostChanged(name)
		}
		for h := range moved {
			h.chainPending = moved[h]
		}
		for name, from := range g.certificates.published {
			fresh.serverNames.SetCertificate(name, from.usable())
		}
		if got, want := g.serverNames.Overrides(), fresh.serverNames.Overrides(); !maps.Equal(got, want) {
			wrong = append(wrong, fmt.Sprintf("overrides of %s:\n  %v, at once\n  %v", g.name, got, want))
		}
		for name := range g.hosts {
			if got, want := g.serverNames.Answers(name), fresh.serverNames.Answers(name); got != want {
				wrong = append(wrong, fmt.Sprintf("%s answers: %t, at once %t", name, got, want))
			}
		}
		for name := range g.certificates.published {
			got, _ := g.serverNames.Certificate(name)
			if want, _ := fresh.serverNames.Certificate(name); got != want {
				wrong = append(wrong, fmt.Sprintf("the certificate of %s is that of %s, at once %s", name, got, want))
			}
		}
	}
	return wrong
}

// Sizes tells how much the server keeps, of whatever there is.
func (s *Server) Sizes() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notifier.mu.Lock()
	defer s.notifier.mu.Unlock()
	return census.Of([]string{"github.com/fairwaynet/fairway/xds/server", "github.com/fairwaynet/fairway/xds/route", "github.com/fairwaynet/fairway/xds/proof"}, s)
}

// Unmarshal reads a message as the server does.
func Unmarshal(body []byte, into proto.Message) error {
	return codec{encoding.GetCodecV2("proto")}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(body)}, into)
}

// TurnAwayNodes turns so many nodes away, and returns how many are
// remembered.
func (s *Server) TurnAwayNodes(nodes int) int {
	for i := range nodes {
		_, _ = s.admitLastResort(peerKey{route.DefaultGateway, fmt.Sprint("node-", i), false}) // all are turned away
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.turnedAway)
}
