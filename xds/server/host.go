package server

import (
	"bytes"
	"net/http"
	"slices"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// reasonRefused is the route.Route Reason of a stand-in.
const reasonRefused = "RefusedByEnvoy"

// host is one virtual host on its way to every Envoy.
//
// advance takes it as many steps as can be taken now; whatever a step waits for
// calls advance again. It looks only at the state below, so that it does not
// matter what happened in which order.
type host struct {
	key   route.Key
	shard *shard

	wanted   *version   // newest published; nil: withdrawn
	released *version   // in the shard; nil: not there
	lastGood *version   // newest that every current Envoy accepted
	past     []*version // released earlier; some Envoy may still have them

	assembled bool   // the shard's resource contains released …
	routeSeq  uint64 // … since this change
	scope     *resource
	scopeSeq  uint64 // the scope is published, or withdrawn, since this change

	chainPending bool   // the listener has not got the host's filter chain yet
	chainSeq     uint64 // it has it since this change

	heldBack   bool        // waits its turn in a trial
	reported   *version    // of which the observer knows that it is served
	waitingFor string      // for what, for people
	waitsOn    []*resource // whose ACK lets it go on
}

// version is one rendering of a host, and the clusters that it names.
type version struct {
	gateway     *gateway
	value       *route.Host
	virtualHost []byte
	clusters    []*cluster
	refused     string // Envoy's message
	refs        int
}

// newVersion renders value. The caller gets no reference.
func (g *gateway) newVersion(value *route.Host) *version {
	v := &version{gateway: g, value: value, virtualHost: envoy.VirtualHost(value, g.settings)}
	seen := make(map[route.Cluster]struct{})
	add := func(c *route.Cluster) {
		if c == nil {
			return
		}
		if _, ok := seen[*c]; !ok {
			seen[*c] = struct{}{}
			v.clusters = append(v.clusters, g.acquireCluster(*c))
		}
	}
	for _, r := range value.Routes {
		add(r.Cluster)
	}
	add(value.Passthrough)
	return v
}

// equal reports whether both say the same to Envoy.
func (v *version) equal(w *version) bool {
	return v != nil && w != nil && bytes.Equal(v.virtualHost, w.virtualHost) && slices.Equal(v.clusters, w.clusters)
}

// isPassedOn reports whether connections for the host go to one of its clusters
// as they are, which a filter chain names.
func (v *version) isPassthrough() bool { return v.value.Passthrough != nil }

// retain takes a reference.
func (v *version) retain() *version {
	if v != nil {
		v.refs++
	}
	return v
}

// drop gives a reference back, and with the last one the clusters.
func (v *version) release() {
	if v == nil {
		return
	}
	v.refs--
	if v.refs > 0 {
		return
	}
	for _, c := range v.clusters {
		v.gateway.releaseCluster(c)
	}
	v.clusters = nil
}

// replace lets *field be v, references included.
func replace(field **version, v *version) {
	if *field == v {
		return
	}
	old := *field
	*field = v.retain()
	old.release()
}

// publishHost makes value what is wanted of a host; nil withdraws it. The
// default host is always there: without a value it has no routes, so that a
// request for it is for no host.
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

// want makes v the wanted version of h, or an equal one that is there already:
// so a value that comes back is known to be good.
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

// setWanted makes v what is wanted of h, nil for nothing.
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

// target is the version that h shall serve now: the wanted one, or while that
// one is refused or held back the last good one, or a stand-in that answers
// 503. nil: none.
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

// rehosted notes that the host of a name is another, or has other released routes.
// Connections are passed on not before the host's routes say so, too: then there is a
// cluster to pass them to.
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

// passedTo is where connections for h are passed on by now; nil: they are not.
func (h *host) releasedPassthrough() *route.Cluster {
	if h.wanted.value.Passthrough == nil || h.released == nil {
		return nil
	}
	return h.released.value.Passthrough
}

// isGuardedAs reports whether both demand the same of clients: to go back must
// not let anybody in.
func (v *version) hasSameClientPolicy(w *version) bool {
	a, b := v.value.Client, w.value.Client
	return a == b || a != nil && b != nil && *a == *b
}

// standIn is served in place of a host that no Envoy accepts and that has no
// good version. It keeps requests from falling through to a wider host.
func standIn(key route.Key) *route.Host {
	return &route.Host{Key: key, Routes: []route.Route{{
		Match:  route.Match{Kind: route.Prefix, Path: "/"},
		Status: http.StatusServiceUnavailable,
		Reason: reasonRefused,
	}}}
}

// advance brings h as near to its target as can be done now.
func (g *gateway) advance(h *host) {
	if g.hosts[h.key.Host] != h {
		return // withdrawn and gone
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

// serve takes h towards target: its clusters, its routes, its scope. It reports
// whether all is there, with every current Envoy.
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

// prepared reports whether target may be released: every cluster is ready.
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

// leave keeps v, with its reference, for as long as some Envoy may have it. Of
// versions that name the same clusters one is enough: while a slow Envoy is
// waited for, any number of them may follow one another.
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

// routed reports whether every current Envoy has the released routes (or has
// lost them). Then no Envoy has earlier ones, and their clusters may go.
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

// reached reports whether every current Envoy has the host's scope and filter
// chain, or has lost them.
func (g *gateway) scopeAndChainAcked(h *host) bool {
	r := h.scope
	if !g.allAcked(r, h.scopeSeq) {
		h.waitingFor = "scope " + r.name
		r.addWaiter(h)
		return false
	}
	return g.chainAcked(h)
}

// withdraw takes h away: its scope, then its routes, then its clusters.
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
