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
	name         route.Gateway
	server       *Server
	settings     route.Settings
	isConfigured bool // settings are published for it

	seq           uint64 // of the newest change of any resource
	resources     [kinds]map[string]*resource
	streams       map[*stream]struct{}
	syncedStreams int // streams that have caught up

	hosts         map[route.Hostname]*host
	shards        map[string]*shard
	dirtyShards   []*shard // to be assembled before the lock is let go
	clusters      map[route.Cluster]*cluster
	servicePorts  map[route.ServicePort]*servicePort
	backendCARefs map[route.Authority]int // by how many clusters they are named

	serverNames    *route.ServerNames // certificates and hosts as clients meet them
	certificates   certificates
	renderTimerSet bool // listen is to be called soon
	proofStreams   map[*proofStream]struct{}
	verifier       *verifier.Verifier
	chains         filterChains
}

func newGateway(s *Server, name route.Gateway) *gateway {
	g := &gateway{
		name:          name,
		server:        s,
		settings:      route.DefaultSettings(),
		streams:       make(map[*stream]struct{}),
		hosts:         make(map[route.Hostname]*host),
		shards:        make(map[string]*shard),
		clusters:      make(map[route.Cluster]*cluster),
		servicePorts:  make(map[route.ServicePort]*servicePort),
		backendCARefs: make(map[route.Authority]int),

		serverNames:  route.NewServerNames(),
		certificates: newCertificates(),
		proofStreams: make(map[*proofStream]struct{}),
		chains:       filterChains{refused: make(map[route.Chain]string)},
	}
	g.verifier = g.newVerifier()
	for k := range g.resources {
		g.resources[k] = make(map[string]*resource)
	}
	g.chains.listener = g.retainResource(kindListener, envoy.HTTPS)
	for _, name := range envoy.Shards() {
		g.shards[name] = g.newShard(name)
	}
	g.publishHost(route.AnyHost, nil)
	g.flush()
	return g
}

// apply makes settings those of the gateway: its listeners, and all that is
// rendered with them.
func (g *gateway) applySettings(settings route.Settings) {
	if g.isConfigured && g.settings.Equal(settings) {
		return
	}
	before := g.settings
	g.isConfigured, g.settings = true, settings
	g.chains.trial, g.chains.refused = nil, make(map[route.Chain]string)
	g.renderListeners()
	g.verifyAll()
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
			g.renderCluster(c)
		} else {
			g.publishCluster(c)
		}
	}
	for _, h := range g.hosts {
		g.advance(h) // a cluster that was refused may be none now
	}
}

// isOver reports whether nobody asks for anything of the gateway any more, and
// no Envoy is left that has anything of it.
func (g *gateway) isUnused() bool {
	if g.isConfigured || len(g.streams)+len(g.proofStreams) > 0 || len(g.certificates.published) > 0 {
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
func (g *gateway) allAcked(r *resource, seq uint64) bool {
	for s := range g.streams {
		u := &s.subscriptions[r.kind]
		if s.synced && u.isActive() && u.ackedSeq(r) < seq {
			return false
		}
	}
	return true
}

// held reports whether every Envoy that has caught up holds some version of r.
func (g *gateway) allHold(r *resource) bool {
	for s := range g.streams {
		if s.synced && !s.subscriptions[r.kind].holds(r) {
			return false
		}
	}
	return true
}

// progressed lets the hosts go on that wait for r.
func (g *gateway) wakeWaiters(r *resource) {
	if len(r.waiters) == 0 {
		return
	}
	waiting := r.waiters
	r.waiters = nil
	for h := range waiting {
		g.advance(h)
	}
	g.removeIfUnused(r)
}

// unawait notes that h waits for nothing. What only it has kept is forgotten.
func (g *gateway) stopWaiting(h *host) {
	awaited := h.waitsOn
	h.waitsOn, h.waitingFor = nil, ""
	for _, r := range awaited {
		shrink.Delete(&r.waiters, h)
		g.removeIfUnused(r)
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
	for len(g.dirtyShards) > 0 || g.listenersDue() {
		if g.listenersDue() {
			g.renderListeners()
		}
		dirty := g.dirtyShards
		g.dirtyShards = nil
		for _, sh := range dirty {
			g.assemble(sh)
		}
	}
}
