package server

import (
	"cmp"
	"slices"

	"github.com/fairwaynet/fairway/xds/envoy"
)

// shard is one RouteConfiguration: the released virtual hosts of the hosts that hash to
// it.
type shard struct {
	name     string
	hosts    []*host // those with a released version, sorted by name
	changed  []*host // since the last assembly
	dirty    bool
	resource *resource
	trial    *trial[*host] // of the hosts of a refused version; nil: none was refused
}

// newShard publishes an empty shard, and the scope that makes every Envoy subscribe to
// it from the start.
func (g *gateway) newShard(name string) *shard {
	sh := &shard{name: name, resource: g.retainResource(kindRoute, name)}
	sh.resource.shard = sh
	g.setResource(kindRoute, name, envoy.RouteConfiguration(name, nil).Body)
	placeholder := envoy.Placeholder(name)
	g.setResource(kindScope, placeholder.Name, placeholder.Body)
	return sh
}

// putInShard makes v the version of h in its shard from the next assembly on; nil: none.
func (g *gateway) putInShard(h *host, v *version) {
	defer g.hostChanged(h.key.Host)
	sh := h.shard
	i, found := slices.BinarySearchFunc(sh.hosts, h, func(a, b *host) int { return cmp.Compare(a.key.Host, b.key.Host) })
	switch {
	case v != nil && !found:
		sh.hosts = slices.Insert(sh.hosts, i, h)
	case v == nil && found:
		sh.hosts = slices.Delete(sh.hosts, i, i+1)
	}
	h.keepPast(h.released)
	h.released = v.retain()
	h.assembled = false
	sh.changed = append(sh.changed, h)
	if !sh.dirty {
		sh.dirty = true
		g.dirtyShards = append(g.dirtyShards, sh)
	}
}

// assemble publishes the RouteConfiguration of a shard, and advances the hosts that
// waited for it.
func (g *gateway) assemble(sh *shard) {
	bodies := make([][]byte, len(sh.hosts))
	for i, h := range sh.hosts {
		bodies[i] = h.released.virtualHost
	}
	g.setResource(kindRoute, sh.name, envoy.RouteConfiguration(sh.name, bodies).Body)
	changed := sh.changed
	sh.dirty, sh.changed = false, nil
	for _, h := range changed {
		h.assembled, h.routeSeq = true, sh.resource.seq
	}
	for _, h := range changed {
		g.advance(h)
	}
	// An Envoy that holds the very same version is not sent it, and does not answer.
	g.wakeWaiters(sh.resource)
	g.continueShardTrial(sh)
}
