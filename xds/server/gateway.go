package server

import (
	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/proof/verifier"
	"github.com/fairwaynet/fairway/xds/route"
)

// gateway is the picture of one gateway and the Envoys that are brought to it.
// Everything in it is guarded by Server.mu.
type gateway struct {
	name     route.Gateway
	server   *Server
	settings route.Settings
	asked    bool // settings are published for it

	seq       uint64 // of the newest change of any resource
	resources [kinds]map[string]*resource
	streams   map[*stream]struct{}
	current   int // streams that have caught up

	hosts    map[route.Hostname]*host
	shards   map[string]*shard
	dirty    []*shard // to be assembled before the lock is let go
	clusters map[route.Cluster]*cluster
	ports    map[route.ServicePort]*port
	vouched  map[route.Authority]int // by how many clusters they are named

	serverNames  *route.ServerNames // certificates and hosts as clients meet them
	certificates certificates
	listening    bool // listen is to be called soon
	provers      map[*proofStream]struct{}
	verifier     *verifier.Verifier
	chains       chains
}

func newGateway(s *Server, name route.Gateway) *gateway {
	g := &gateway{
		name:     name,
		server:   s,
		settings: route.DefaultSettings(),
		streams:  make(map[*stream]struct{}),
		hosts:    make(map[route.Hostname]*host),
		shards:   make(map[string]*shard),
		clusters: make(map[route.Cluster]*cluster),
		ports:    make(map[route.ServicePort]*port),
		vouched:  make(map[route.Authority]int),

		serverNames:  route.NewServerNames(),
		certificates: newCertificates(),
		provers:      make(map[*proofStream]struct{}),
		chains:       chains{refused: make(map[route.Chain]string)},
	}
	g.verifier = g.newVerifier()
	for k := range g.resources {
		g.resources[k] = make(map[string]*resource)
	}
	g.chains.listener = g.hold(kindListener, envoy.HTTPS)
	for _, name := range envoy.Shards() {
		g.shards[name] = g.newShard(name)
	}
	g.publishHost(route.AnyHost, nil)
	g.flush()
	return g
}

// apply makes settings those of the gateway: its listeners, and all that is
// rendered with them.
func (g *gateway) apply(settings route.Settings) {
	if g.asked && g.settings.Equal(settings) {
		return
	}
	before := g.settings
	g.asked, g.settings = true, settings
	g.chains.trial, g.chains.refused = nil, make(map[route.Chain]string)
	g.listen()
	g.proveOtherwise()
	if !envoy.SameHosts(before, settings) {
		for name, h := range g.hosts {
			if h.wanted != nil {
				g.publishHost(name, h.wanted.value)
			}
		}
	}
	if envoy.SameClusters(before, settings) {
		return
	}
	for _, c := range g.clusters {
		c.refused = ""
		if c.cds.exists() {
			g.render(c)
		} else {
			g.introduce(c)
		}
	}
	for _, h := range g.hosts {
		g.advance(h) // a cluster that was refused may be none now
	}
}

// isOver reports whether nobody asks for anything of the gateway any more, and
// no Envoy is left that has anything of it.
func (g *gateway) isOver() bool {
	if g.asked || len(g.streams)+len(g.provers) > 0 || len(g.certificates.slots) > 0 {
		return false
	}
	for name, h := range g.hosts {
		if name != route.AnyHost || h.wanted.value.Answers() {
			return false
		}
	}
	return true
}

// acked reports whether every Envoy that has caught up accepted r at seq or
// later. With none it is trivially so. An Envoy that asks for nothing of the
// kind (it has no listener) cannot be behind with it.
func (g *gateway) acked(r *resource, seq uint64) bool {
	for s := range g.streams {
		u := &s.subscriptions[r.kind]
		if s.current && u.asks() && u.acked(r) < seq {
			return false
		}
	}
	return true
}

// held reports whether every Envoy that has caught up holds some version of r.
func (g *gateway) held(r *resource) bool {
	for s := range g.streams {
		if s.current && !s.subscriptions[r.kind].holds(r) {
			return false
		}
	}
	return true
}

// progressed lets the hosts go on that wait for r.
func (g *gateway) progressed(r *resource) {
	if len(r.waiting) == 0 {
		return
	}
	waiting := r.waiting
	r.waiting = nil
	for h := range waiting {
		g.advance(h)
	}
	g.collect(r)
}

// unawait notes that h waits for nothing. What only it has kept is forgotten.
func (g *gateway) unawait(h *host) {
	awaited := h.awaited
	h.awaited, h.waits = nil, ""
	for _, r := range awaited {
		shrink.Delete(&r.waiting, h)
		g.collect(r)
	}
}

// advanceAll lets every host go on: the set of Envoys that are waited for has
// changed.
func (g *gateway) advanceAll() {
	for _, h := range g.hosts {
		g.advance(h)
	}
}

// flush renders the listeners and assembles the shards that changed, until
// nothing changes any more.
func (g *gateway) flush() {
	for len(g.dirty) > 0 || g.isToListen() {
		if g.isToListen() {
			g.listen()
		}
		dirty := g.dirty
		g.dirty = nil
		for _, sh := range dirty {
			g.assemble(sh)
		}
	}
}
