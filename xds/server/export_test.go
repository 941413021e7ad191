package server

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/fairwaynet/fairway/xds/route"
)

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

// Holders tells which versions of which hosts keep a cluster, for the messages
// of tests.
func (s *Server) Holders(cluster string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var holders []string
	for _, g := range s.gateways {
		for _, c := range g.clusters {
			if c.cds.name == cluster {
				holders = append(holders, fmt.Sprintf("%d references, retires %t, refused %q", c.refs, c.retire != nil, c.refused))
			}
		}
		for name, h := range g.hosts {
			versions := map[string]*version{"wanted": h.wanted, "released": h.released, "good": h.good}
			for i, v := range h.past {
				versions[fmt.Sprint("past ", i)] = v
			}
			for role, v := range versions {
				for _, c := range v.named() {
					if c.cds.name == cluster {
						holders = append(holders, fmt.Sprintf("%s %s, waiting for %q, refused %q", role, name, h.waits, v.refused))
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

// Knows reports whether there is anything of the gateway.
func (s *Server) Knows(gateway route.Gateway) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gateways[gateway] != nil
}

// Unmarshal reads a message as the server does.
func Unmarshal(body []byte, into proto.Message) error {
	return codec{encoding.GetCodecV2("proto")}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(body)}, into)
}

// Seek has so many nodes come and be turned away, and returns how many are
// remembered.
func (s *Server) Seek(nodes int) int {
	for i := range nodes {
		_, _ = s.lend(seeker{route.DefaultGateway, fmt.Sprint("node-", i), false}) // all are turned away
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seekers)
}
