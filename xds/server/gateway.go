package server

import (
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/proof/verifier"
	"github.com/fairwaynet/fairway/xds/route"
)

// gateway is the configuration of one gateway, and its Envoys. Server.mu guards all of
// it.
type gateway struct {
	name         route.Gateway
	server       *Server
	settings     route.Settings
	isConfigured bool // settings are published for it

	seq           uint64 // of the newest change of any resource
	resources     [kinds]map[string]*resource
	streams       map[*stream]struct{}
	syncedStreams int // how many streams are synced

	hosts         map[route.Hostname]*host
	shards        map[string]*shard
	dirtyShards   []*shard // must be assembled before the lock is released
	clusters      map[route.Cluster]*cluster
	servicePorts  map[route.ServicePort]*servicePort
	backendCARefs map[route.Authority]int // how many clusters name each

	serverNames    *route.ServerNames // which certificate and chain each name gets
	certificates   certificates
	renderTimerSet bool // a timer will render the listeners
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

// applySettings makes settings those of the gateway, and renders everything that depends
// on them.
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

// isUnused reports whether nothing of the gateway is published any more, and no Envoy is
// left that has anything of it.
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

// flush renders the listeners and assembles the shards that changed, until nothing
// changes any more.
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

// advanceAll advances every host: the set of synced Envoys has changed.
func (g *gateway) advanceAll() {
	for _, h := range g.hosts {
		g.advance(h)
	}
}

// allAcked reports whether every synced Envoy has ACKed r at seq or later. An Envoy that
// subscribes to nothing of the kind, because it has no listener, does not count.
func (g *gateway) allAcked(r *resource, seq uint64) bool {
	for s := range g.streams {
		sub := &s.subscriptions[r.kind]
		if s.synced && sub.isActive() && sub.ackedSeq(r) < seq {
			return false
		}
	}
	return true
}

// allHold reports whether every synced Envoy holds some version of r.
func (g *gateway) allHold(r *resource) bool {
	for s := range g.streams {
		if s.synced && !s.subscriptions[r.kind].holds(r) {
			return false
		}
	}
	return true
}
