package server

import (
	"net/http"
	"slices"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// host is one virtual host on its way to every Envoy.
//
// advance takes it as many steps as can be taken now. When a step has to wait, the event
// that it waits for calls advance again. advance looks only at the state below, so the
// order of earlier events does not matter.
type host struct {
	key   route.Key
	shard *shard

	wanted   *version   // newest published; nil: withdrawn
	released *version   // in the shard; nil: not there
	lastGood *version   // newest that every synced Envoy accepted
	past     []*version // released earlier; some Envoy may still have them

	assembled bool   // the shard's resource contains released …
	routeSeq  uint64 // … since this change
	scope     *resource
	scopeSeq  uint64 // the change that published the scope, or removed it

	chainPending bool   // the listener has yet to be rendered with the host's filter chain
	chainSeq     uint64 // the change of the listener that has it

	heldBack   bool        // it waits for its turn in a trial
	reported   *version    // the observer knows that this one is served
	waitingFor string      // tells people what it waits for
	waitsOn    []*resource // an ACK of any of them advances it
}

// publishHost makes value the wanted version of a host; nil withdraws it. The default
// host is always there: without a value it has no routes.
func (g *gateway) publishHost(name route.Hostname, value *route.Host) {
	h, ok := g.hosts[name]
	answers, isHost := g.serverNames.Answers(name), g.hasExactHost(name)
	defer func() {
		g.hostChanged(name)
		if g.serverNames.Answers(name) != answers {
			g.updateSecrets(name)
		}
		if g.hasExactHost(name) != isHost {
			g.renderHTTP3Soon()
		}
	}()
	if value == nil && name == route.AnyHost {
		value = &route.Host{Key: route.Key{Gateway: g.name, Host: name}}
	}
	if !ok {
		if value == nil {
			return
		}
		h = g.newHost(name)
	}
	if value == nil {
		g.setWanted(h, nil)
	} else if v := g.newVersion(value).retain(); v.equal(h.wanted) {
		h.wanted.value = value
		v.release()
	} else {
		g.want(h, v)
		v.release()
	}
	g.advance(h)
}

func (g *gateway) newHost(name route.Hostname) *host {
	h := &host{
		key:   route.Key{Gateway: g.name, Host: name},
		shard: g.shards[envoy.ShardOf(name)],
		scope: g.retainResource(kindScope, envoy.Scope(name).Name),
	}
	h.scope.host = h
	g.hosts[name] = h
	return h
}

// want makes v the wanted version of h, or an equal version that is known already: so a
// value that comes back is known to be good.
func (g *gateway) want(h *host, v *version) {
	for _, known := range []*version{h.released, h.lastGood} {
		if v.equal(known) && known.refused == "" {
			known.value = v.value
			v = known
		}
	}
	h.heldBack = false
	g.setWanted(h, v)
}

// setWanted makes v the wanted version of h; nil: none.
func (g *gateway) setWanted(h *host, v *version) {
	if h.wanted == v {
		return
	}
	if v != nil {
		for _, c := range v.clusters {
			g.clusterWanted(c)
		}
	}
	if h.wanted != nil {
		for _, c := range h.wanted.clusters {
			c.wantedBy--
		}
	}
	replace(&h.wanted, v)
}

// advance brings h as near to its target as is possible now.
func (g *gateway) advance(h *host) {
	if g.hosts[h.key.Host] != h {
		return // it was removed
	}
	g.stopWaiting(h)
	target := g.target(h)
	if target == nil {
		g.withdraw(h)
		return
	}
	if g.stepTowards(h, target) && g.syncedStreams > 0 && target == h.wanted && h.reported != target {
		h.reported = target
		g.server.notifier.hostServed(h.key)
	}
}

// target is the version that h should serve now; nil: none. It is the wanted one. While
// that is refused or held back, it is the last good one, or a stand-in that answers 503.
func (g *gateway) target(h *host) *version {
	switch {
	case h.wanted == nil:
		return nil
	case h.wanted.refused == "" && !h.heldBack:
		return h.wanted
	case h.lastGood != nil && h.lastGood != h.wanted && h.lastGood.refused == "" && h.lastGood.hasSameClientPolicy(h.wanted):
		return h.lastGood
	case h.released != nil && h.released != h.wanted && len(h.released.clusters) == 0 && h.released.refused == "":
		return h.released // a stand-in already
	default:
		return g.newVersion(standIn(h.key))
	}
}

// reasonRefused is the route.Route Reason of a stand-in.
const reasonRefused = "RefusedByEnvoy"

// standIn is served in place of a refused host without a good version. It keeps requests
// from falling through to a wider host.
func standIn(key route.Key) *route.Host {
	return &route.Host{Key: key, Routes: []route.Route{{
		Match:  route.Match{Kind: route.Prefix, Path: "/"},
		Status: http.StatusServiceUnavailable,
		Reason: reasonRefused,
	}}}
}

// stepTowards takes h towards target: its clusters, its routes, its scope. It reports
// whether every synced Envoy has all of it.
func (g *gateway) stepTowards(h *host, target *version) bool {
	if h.released != target {
		switch {
		case !g.clustersReady(h, target):
		case target == h.wanted && target != h.lastGood && h.shard.holdBack(h):
			g.advance(h)
		default:
			g.putInShard(h, target)
		}
		return false
	}
	if !g.routesAcked(h) {
		return false
	}
	if g.syncedStreams > 0 {
		replace(&h.lastGood, target)
	}
	if !h.scope.exists() {
		h.scopeSeq = g.setResource(kindScope, h.scope.name, envoy.Scope(h.key.Host).Body).seq
	}
	return g.scopeAndChainAcked(h)
}

// clustersReady reports whether target may be released: every cluster is ready.
func (g *gateway) clustersReady(h *host, target *version) bool {
	for _, c := range target.clusters {
		if c.refused != "" {
			g.rejectVersion(h, target, c.refused)
			return false
		}
		if !g.isReady(c) {
			h.waitingFor = "cluster " + c.cds.name
			c.addWaiter(h)
			return false
		}
	}
	return true
}

// routesAcked reports whether every synced Envoy has the released routes, or has removed
// them. Then no Envoy has earlier ones, and their clusters may go.
func (g *gateway) routesAcked(h *host) bool {
	if !h.assembled {
		return false
	}
	r := h.shard.resource
	if !g.allAcked(r, h.routeSeq) {
		h.waitingFor = "routes " + r.name
		r.addWaiter(h)
		return false
	}
	if slices.ContainsFunc(h.past, (*version).isPassthrough) && !g.chainAcked(h) {
		return false
	}
	for _, v := range h.past {
		v.release()
	}
	h.past = nil
	return true
}

// scopeAndChainAcked reports whether every synced Envoy has the host's scope and filter
// chain, or has removed them.
func (g *gateway) scopeAndChainAcked(h *host) bool {
	r := h.scope
	if !g.allAcked(r, h.scopeSeq) {
		h.waitingFor = "scope " + r.name
		r.addWaiter(h)
		return false
	}
	return g.chainAcked(h)
}

// withdraw removes h: its scope, then its routes, then its clusters.
func (g *gateway) withdraw(h *host) {
	if h.scope.exists() {
		h.scopeSeq = g.setResource(kindScope, h.scope.name, nil).seq
	}
	if h.scopeSeq > 0 && !g.scopeAndChainAcked(h) {
		return
	}
	if h.released != nil {
		g.putInShard(h, nil)
		return
	}
	if (h.routeSeq > 0 || len(h.past) > 0) && !g.routesAcked(h) {
		return
	}
	replace(&h.lastGood, nil)
	shrink.Delete(&g.hosts, h.key.Host)
	h.scope.host = nil
	g.releaseResource(h.scope)
	g.server.notifier.hostServed(h.key)
}

// keepPast keeps v, with its reference, for as long as some Envoy may have it. Of
// versions that name the same clusters one is enough: while a slow Envoy is waited for,
// many versions may follow one another.
func (h *host) keepPast(v *version) {
	if v == nil {
		return
	}
	if slices.ContainsFunc(h.past, func(past *version) bool { return slices.Equal(past.clusters, v.clusters) }) {
		v.release()
		return
	}
	h.past = append(h.past, v)
}

// hostChanged tells the server names that the host of a name is another one, or has
// other released routes.
func (g *gateway) hostChanged(name route.Hostname) {
	var value *route.Host
	if h, ok := g.hosts[name]; ok && h.wanted != nil {
		value = h.wanted.value
		if to := h.releasedPassthrough(); to != value.Passthrough {
			shown := *value
			shown.Passthrough = to
			value = &shown
		}
	}
	g.chainsChanged(g.serverNames.SetHost(name, value))
}

// releasedPassthrough is the cluster to which connections for h are passed on by now;
// nil: none. They are passed on only after the host's routes were released, so that the
// cluster is there.
func (h *host) releasedPassthrough() *route.Cluster {
	if h.wanted.value.Passthrough == nil || h.released == nil {
		return nil
	}
	return h.released.value.Passthrough
}
