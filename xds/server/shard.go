package server

import (
	"cmp"
	"slices"

	"github.com/fairwaynet/fairway/xds/envoy"
)

// shard is one RouteConfiguration: the released virtual hosts of those hosts
// that hash to it.
type shard struct {
	name     string
	hosts    []*host // those with a released version, sorted by name
	changed  []*host // since the last assembly
	dirty    bool
	resource *resource
	trial    *trial[*host] // of the hosts of a refused version; nil: none was refused
}

// newShard publishes an empty shard and the scope that makes every Envoy
// subscribe to it from the start.
func (g *gateway) newShard(name string) *shard {
	sh := &shard{name: name, resource: g.hold(kindRoute, name)}
	sh.resource.shard = sh
	g.set(kindRoute, name, envoy.RouteConfiguration(name, nil).Body)
	placeholder := envoy.Placeholder(name)
	g.set(kindScope, placeholder.Name, placeholder.Body)
	return sh
}

// put makes v the version of h in its shard, nil for none, from the next
// assembly on.
func (g *gateway) put(h *host, v *version) {
	defer g.rehosted(h.key.Host)
	sh := h.shard
	i, found := slices.BinarySearchFunc(sh.hosts, h, func(a, b *host) int { return cmp.Compare(a.key.Host, b.key.Host) })
	switch {
	case v != nil && !found:
		sh.hosts = slices.Insert(sh.hosts, i, h)
	case v == nil && found:
		sh.hosts = slices.Delete(sh.hosts, i, i+1)
	}
	h.leave(h.released)
	h.released = v.retain()
	h.assembled = false
	sh.changed = append(sh.changed, h)
	if !sh.dirty {
		sh.dirty = true
		g.dirty = append(g.dirty, sh)
	}
}

// assemble publishes the RouteConfiguration of a shard and lets the hosts go on
// that waited for that.
func (g *gateway) assemble(sh *shard) {
	bodies := make([][]byte, len(sh.hosts))
	for i, h := range sh.hosts {
		bodies[i] = h.released.virtualHost
	}
	g.set(kindRoute, sh.name, envoy.RouteConfiguration(sh.name, bodies).Body)
	changed := sh.changed
	sh.dirty, sh.changed = false, nil
	for _, h := range changed {
		h.assembled, h.routeSeq = true, sh.resource.seq
	}
	for _, h := range changed {
		g.advance(h)
	}
	// An Envoy that holds the very same version is not sent it, and will not
	// answer.
	g.progressed(sh.resource)
	g.judged(sh)
}
