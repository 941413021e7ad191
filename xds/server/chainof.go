package server

import (
	"strings"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/route"
)

// Which filter chain the connections for a server name get follows from the host
// that is wanted under the name, and from its certificates: both can be those of
// the wildcard that covers it, and the host that of route.AnyHost. A change of one
// name is looked up for that name, and for those that it covers only if what it
// gives them is another.

// derived are the chains of all names of which something is known: a host that
// is wanted, or a certificate. However it came about, it is what a gateway with
// the same hosts and certificates would derive at once.
type derived struct {
	// own has the names whose chain is another than that of what covers them: a
	// wildcard, or route.AnyHost. AnyHost itself is there unless its chain is the
	// zero Chain.
	own  map[route.Hostname]route.Chain
	uses map[route.Chain]int // how many of own have it
	// lent is what wildcards of which something is known, and AnyHost, give to
	// the names that they cover.
	lent map[route.Hostname]parts
	// covered are the names of which something is known, by the wildcard that
	// covers them.
	covered map[route.Hostname]map[route.Hostname]struct{}
	// rederived are the names whose chain may be another since the listeners
	// were rendered. Without a prover nobody has to know.
	rederived map[route.Hostname]struct{}
}

func newDerived() derived {
	return derived{
		own:     make(map[route.Hostname]route.Chain),
		uses:    make(map[route.Chain]int),
		lent:    make(map[route.Hostname]parts),
		covered: make(map[route.Hostname]map[route.Hostname]struct{}),
	}
}

// parts are what the chain of a name is made of.
type parts struct {
	client      route.ClientPolicy
	passthrough route.Cluster  // the zero Cluster: TLS ends here
	pair        route.Hostname // whose two certificates are shown; empty: one is
}

func (p parts) chain() route.Chain {
	if passed := (route.Chain{Passthrough: p.passthrough}); passed.IsPassthrough() {
		return passed
	}
	return route.Chain{Client: p.client, Pair: p.pair}
}

// chainOf is what the connections for a server name get, whether there are
// authorities to verify clients by or not.
func (g *gateway) chainOf(name route.Hostname) route.Chain { return g.partsOf(name).chain() }

func (g *gateway) partsOf(name route.Hostname) parts {
	var p parts
	if h := g.hostFor(name); h != nil {
		if h.wanted.value.Client != nil {
			p.client = *h.wanted.value.Client
		}
		if to := h.passedTo(); to != nil {
			p.passthrough = *to
		}
	}
	for _, owner := range []route.Hostname{name, wildcardOf(name)} {
		if certificate := g.certificates.slots[owner].usable(); certificate != nil {
			if certificate.Other != nil && owner != route.AnyHost {
				p.pair = owner
			}
			break
		}
	}
	return p
}

// passedTo is where connections for h are passed on: not before its routes say
// so, too, and hence not before there is a cluster to pass them to.
func (h *host) passedTo() *route.Cluster {
	if h.wanted.value.Passthrough == nil || h.released == nil {
		return nil
	}
	return h.released.value.Passthrough
}

func wildcardOf(name route.Hostname) route.Hostname {
	wildcard, _ := name.Wildcard()
	return wildcard
}

// hostFor is the host that serves requests for a name; nil if none does.
func (g *gateway) hostFor(name route.Hostname) *host {
	for _, candidate := range []route.Hostname{name, wildcardOf(name), route.AnyHost} {
		if h, ok := g.hosts[candidate]; ok && h.wanted != nil {
			return h
		}
	}
	return nil
}

// hasChain reports whether anything is known of a name from which a chain could
// follow.
func (g *gateway) hasChain(name route.Hostname) bool {
	h, ok := g.hosts[name]
	return ok && h.wanted != nil || g.certificates.slots[name] != nil
}

// rechained notes that the host or the certificates of a name are others.
func (g *gateway) rechained(name route.Hostname) {
	g.derive(name)
	if !g.lends(name) {
		return
	}
	names := g.coveredBy(name)
	for _, other := range names {
		g.derive(other)
		g.lends(other)
	}
	if g.chains.stale { // a name without a chain of its own has what is given to it
		for _, other := range names {
			g.noteRederived(other)
		}
	}
}

// lends brings up to date what a name gives to those that it covers, and reports
// whether it is another than before.
func (g *gateway) lends(name route.Hostname) bool {
	if !strings.HasPrefix(string(name), "*") {
		return false
	}
	c := &g.chains
	before, known := c.lent[name]
	if !known {
		before = c.lent[route.AnyHost]
	}
	now := g.partsOf(name)
	if g.hasChain(name) {
		c.lent[name] = now
	} else {
		shrink.Delete(&c.lent, name)
	}
	return now != before
}

// coveredBy are the names of which something is known that could have what a
// wildcard gives them, or route.AnyHost.
func (g *gateway) coveredBy(name route.Hostname) []route.Hostname {
	var names []route.Hostname
	if name != route.AnyHost {
		for other := range g.chains.covered[name] {
			names = append(names, other)
		}
		return names
	}
	for other := range g.hosts {
		if other != name {
			names = append(names, other)
		}
	}
	for other := range g.certificates.slots {
		if _, listed := g.hosts[other]; !listed && other != name {
			names = append(names, other)
		}
	}
	return names
}

// derive looks up the chain of a name, and has the listeners rendered if it is
// another. The host of that name is not served before they are accepted.
func (g *gateway) derive(name route.Hostname) {
	c := &g.chains
	known := g.hasChain(name)
	c.cover(name, known)
	var chain, above route.Chain
	if known {
		chain = g.chainOf(name)
	}
	if known && name != route.AnyHost {
		above = g.chainOf(coverOf(name))
	}
	if !c.put(name, chain, chain != above) {
		return
	}
	c.stale = true
	g.noteRederived(name)
	if h, ok := g.hosts[name]; ok && !h.moved {
		h.moved = true
		c.moved = append(c.moved, h)
	}
}

// coverOf is the wildcard that covers a name, or route.AnyHost.
func coverOf(name route.Hostname) route.Hostname {
	if wildcard, ok := name.Wildcard(); ok {
		return wildcard
	}
	return route.AnyHost
}

// cover notes whether something is known of a name.
func (d *derived) cover(name route.Hostname, known bool) {
	wildcard, ok := name.Wildcard()
	names := d.covered[wildcard]
	switch {
	case !ok:
	case !known:
		shrink.Delete(&names, name)
		if len(names) == 0 {
			shrink.Delete(&d.covered, wildcard)
		} else {
			d.covered[wildcard] = names
		}
	case names == nil:
		d.covered[wildcard] = map[route.Hostname]struct{}{name: {}}
	default:
		names[name] = struct{}{}
	}
}

// put makes chain that of a name, if it is one of its own. It reports whether
// that changes anything.
func (d *derived) put(name route.Hostname, chain route.Chain, own bool) bool {
	before, had := d.own[name]
	if had == own && (!own || before == chain) {
		return false
	}
	if had {
		if d.uses[before]--; d.uses[before] == 0 {
			shrink.Delete(&d.uses, before)
		}
		shrink.Delete(&d.own, name)
	}
	if own {
		d.own[name] = chain
		d.uses[chain]++
	}
	return true
}

// noteRederived notes that the chain of a name may be another, for those who
// look at what is served.
func (g *gateway) noteRederived(name route.Hostname) {
	if len(g.provers) == 0 {
		return
	}
	if g.chains.rederived == nil {
		g.chains.rederived = make(map[route.Hostname]struct{})
	}
	g.chains.rederived[name] = struct{}{}
}
