package server

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// Which filter chain of the HTTPS listener the connections for a server name
// get follows from the host that is wanted under the name, from its
// certificates, and from the authorities that are published: all of it is looked
// up again whenever one of them changes that matters.

// chains are those of one gateway.
type chains struct {
	listener *resource // for HTTPS

	own   map[route.Hostname]route.Chain // by server name, those that are not the zero Chain
	wide  bool                           // one of them is of a wildcard or of route.AnyHost
	stale bool                           // the listeners are to be rendered
	moved []*host                        // whose chain is another since they were

	proven  map[route.Chain]struct{} // by an Envoy that accepted the listener with them
	refused map[route.Chain]string   // by an Envoy, whose message it is
	trial   *chainTrial              // nil but while a refused listener is taken apart
	pairs   map[string]pairSecret    // by the name of the resource
}

// pairSecret says which certificate a resource holds.
type pairSecret struct {
	name  route.Hostname
	index int
}

// chainTrial takes a refused listener apart: part of the chains that may be at
// fault are tested, the others held back, and connections for them closed.
type chainTrial struct {
	judge   *stream // who refused it; nil: has left
	testing []route.Chain
	held    [][]route.Chain
}

// PublishClientCA makes authorities, certificates in PEM, those by which clients
// are verified whose host names the Kubernetes Secret. nil withdraws them:
// connections to such hosts are then refused.
func (s *Server) PublishClientCA(secret types.NamespacedName, authorities []byte) {
	name := envoy.ClientCAName(secret)
	s.do(func() {
		before := s.clientCAs[name]
		if authorities == nil {
			delete(s.clientCAs, name)
		} else {
			s.clientCAs[name] = envoy.ClientCA(secret, authorities).Body
		}
		for _, g := range s.gateways {
			// Without authorities, Envoys keep them until no chain names them.
			if r, asked := g.resources[kindSecret][name]; asked && authorities != nil {
				g.set(kindSecret, r.name, s.clientCAs[name])
			}
			g.chains.stale = g.chains.stale || (before == nil) != (authorities == nil)
		}
	})
}

// chainOf is what the connections for a server name get, whether there are
// authorities to verify clients by or not.
func (g *gateway) chainOf(name route.Hostname) route.Chain {
	var c route.Chain
	if h := g.hostFor(name); h != nil {
		if h.wanted.value.Client != nil {
			c.Client = *h.wanted.value.Client
		}
		if to := g.passedTo(h); to != nil {
			return route.Chain{Passthrough: *to}
		}
	}
	for _, owner := range []route.Hostname{name, wildcardOf(name)} {
		if from := g.certificates.slots[owner]; from.usable() != nil {
			if from.usable().Other != nil && owner != route.AnyHost {
				c.Pair = owner
			}
			return c
		}
	}
	return c
}

// passedTo is where connections for h are passed on: not before there is a
// cluster to pass them to.
func (g *gateway) passedTo(h *host) *route.Cluster {
	wanted := h.wanted.value.Passthrough
	switch {
	case wanted == nil:
		return nil
	case h.released != nil && h.released.value.Passthrough != nil:
		return h.released.value.Passthrough
	}
	c, ok := g.clusters[*wanted]
	if !ok || !c.cds.exists() || !g.held(c.cds) || c.port != nil && !g.held(c.port.eds) {
		return nil
	}
	return wanted
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

// rechained notes that the chain of a name may be another than the listener has.
func (g *gateway) rechained(name route.Hostname) {
	c := g.chainOf(name)
	if c == g.chains.own[name] && !g.chains.wide {
		return
	}
	g.chains.stale = true
	if h, ok := g.hosts[name]; ok && !h.moved && c != g.chains.own[name] {
		h.moved = true
		g.chains.moved = append(g.chains.moved, h)
	}
}

// listen renders the listeners.
func (g *gateway) listen() {
	g.chains.stale = false
	before := g.chains.own
	g.chains.own, g.chains.wide = g.ownChains()
	inUse := slices.Collect(maps.Values(g.chains.own))
	maps.DeleteFunc(g.chains.refused, func(c route.Chain, _ string) bool { return !slices.Contains(inUse, c) })
	wanted := make(map[string]struct{})
	for _, l := range append(envoy.Listeners(g.settings, g.admitted()), g.http3()...) {
		wanted[l.Name] = struct{}{}
		g.set(kindListener, l.Name, l.Body)
	}
	for name, r := range g.resources[kindListener] {
		if _, ok := wanted[name]; !ok && r.exists() {
			g.set(kindListener, name, nil)
		}
	}
	g.providePairs()
	for _, names := range []map[route.Hostname]route.Chain{before, g.chains.own} {
		for name := range names {
			g.proveAgain(name)
		}
	}
	moved := g.chains.moved
	g.chains.moved = nil
	for _, h := range moved {
		h.moved, h.chainSeq = false, g.chains.listener.seq
	}
	for _, h := range moved {
		g.advance(h)
	}
	// An Envoy that holds the very same version is not sent it, and will not
	// answer.
	g.progressed(g.chains.listener)
	g.judgedListener()
}

// ownChains are the chains of all names of which something is known, other than
// the zero Chain; and that, too, where a wider name has another.
func (g *gateway) ownChains() (own map[route.Hostname]route.Chain, wide bool) {
	own = make(map[route.Hostname]route.Chain)
	each := func(do func(route.Hostname)) {
		for name := range g.hosts {
			do(name)
		}
		for name := range g.certificates.slots {
			do(name)
		}
	}
	each(func(name route.Hostname) {
		if c := g.chainOf(name); c != (route.Chain{}) {
			own[name] = c
			wide = wide || strings.HasPrefix(string(name), "*")
		}
	})
	if wide {
		each(func(name route.Hostname) { own[name] = g.chainOf(name) })
	}
	return own, wide
}

// admitted are the chains as they can be served now: those that no Envoy takes,
// or that cannot verify whom they should, refuse connections.
func (g *gateway) admitted() map[route.Hostname]route.Chain {
	admitted := make(map[route.Hostname]route.Chain, len(g.chains.own))
	for name, c := range g.chains.own {
		admitted[name] = g.admit(c)
	}
	return admitted
}

func (g *gateway) admit(c route.Chain) route.Chain {
	if _, refused := g.chains.refused[c]; refused || c != (route.Chain{}) && g.chains.holdsBack(c) || !g.canVerify(c) {
		return route.Chain{Closed: true}
	}
	return c
}

// handshakes reports whether TLS for a name ends here.
func (g *gateway) handshakes(name route.Hostname) bool {
	c := g.admit(g.chainOf(name))
	return !c.Closed && !c.IsPassthrough()
}

// canVerify reports whether there are authorities for what c demands of clients.
func (g *gateway) canVerify(c route.Chain) bool {
	return c.Client == (route.ClientPolicy{}) || g.server.clientCAs[envoy.ClientCAName(c.Client.CA)] != nil
}

// provided is the secret of that name, if it is one that filter chains ask for
// and no client can.
func (g *gateway) provided(name string) (body []byte, ours bool) {
	if envoy.IsServerName(name) {
		return nil, false
	}
	if authorities, ok := g.server.clientCAs[name]; ok {
		return authorities, true
	}
	if p, ok := g.chains.pairs[name]; ok {
		return g.pairBody(name, p), true
	}
	return nil, true
}

// providePairs notes which names have two certificates, and brings those that
// Envoys ask for up to date.
func (g *gateway) providePairs() {
	g.chains.pairs = make(map[string]pairSecret)
	for _, c := range g.chains.own {
		if c.Pair == "" {
			continue
		}
		for i := range 2 {
			g.chains.pairs[envoy.PairSecretName(c.Pair, i)] = pairSecret{c.Pair, i}
		}
	}
	for name, p := range g.chains.pairs {
		if _, asked := g.resources[kindSecret][name]; asked {
			g.set(kindSecret, name, g.pairBody(name, p))
		}
	}
}

func (g *gateway) pairBody(name string, p pairSecret) []byte {
	certificate := g.certificates.slots[p.name].usable()
	if certificate != nil && p.index == 1 {
		certificate = certificate.Other
	}
	if certificate == nil {
		return nil
	}
	return envoy.Secret(name, certificate.Chain, certificate.Key.Reveal()).Body
}

// recertified notes that the certificates of a name are others.
func (g *gateway) recertified(name route.Hostname) {
	g.rechained(name)
	if c := g.chainOf(name); c.Pair != "" && c == g.chains.own[name] {
		g.providePairs()
	}
}

// blamePair goes back to the last good certificates of a name of which an Envoy
// refused one.
func (g *gateway) blamePair(p pairSecret, detail string) {
	from := g.certificates.slots[p.name]
	if from == nil {
		return
	}
	from.refused = true
	g.server.notes.certificateRejected(route.Key{Gateway: g.name, Host: p.name}, detail)
	g.lookAgain(p.name)
	g.recertified(p.name)
}

// chained reports whether every current Envoy treats connections for h as they
// shall be.
func (g *gateway) chained(h *host) bool {
	if h.moved || h.chainSeq > 0 && !g.acked(g.chains.listener, h.chainSeq) {
		h.waits = "listener " + envoy.HTTPS
		g.chains.listener.await(h)
		return false
	}
	return true
}

// acceptedListener notes that an Envoy took the newest HTTPS listener.
func (g *gateway) acceptedListener(r *resource) {
	if r != g.chains.listener {
		return
	}
	g.chains.proven = make(map[route.Chain]struct{})
	for _, c := range g.admitted() {
		g.chains.proven[c] = struct{}{}
	}
}

// judgedListener goes on with the trial of a listener when its judge has accepted
// the newest version, or is gone.
func (g *gateway) judgedListener() {
	c := &g.chains
	switch t := c.trial; {
	case t == nil || t.judge != nil && t.judge.subscriptions[kindListener].acked(c.listener) < c.listener.seq:
	case len(t.held) == 0:
		c.trial = nil
		c.stale = true // others may have come meanwhile
	default:
		t.testing, t.held = t.held[0], t.held[1:]
		c.stale = true
	}
}

// blameListener halves the chains that may be at fault for a refused listener,
// and refuses the last one. It reports false if the fault is not in a chain.
func (g *gateway) blameListener(s *stream, detail string) bool {
	c := &g.chains
	if c.trial == nil {
		c.trial = &chainTrial{testing: g.unprovenChains()}
	}
	c.trial.judge = s
	switch t := c.trial; len(t.testing) {
	case 0: // what is left was good, or there is none
		c.trial = nil
		return false
	case 1:
		c.refused[t.testing[0]] = detail
		for _, h := range g.hosts {
			if h.wanted != nil && g.chainOf(h.key.Host) == t.testing[0] {
				g.refuse(h, h.wanted, detail)
			}
		}
		t.testing = nil
	default:
		middle := len(t.testing) / 2
		t.held = append([][]route.Chain{t.testing[middle:]}, t.held...)
		t.testing = t.testing[:middle]
	}
	c.stale = true
	return true
}

// unprovenChains are those of the listener that no Envoy is known to accept.
func (g *gateway) unprovenChains() []route.Chain {
	unproven := make(map[string]route.Chain)
	for _, c := range g.admitted() {
		if _, ok := g.chains.proven[c]; !ok && !c.Closed && c != (route.Chain{}) {
			unproven[envoy.ChainName(c)] = c
		}
	}
	var sorted []route.Chain
	for _, name := range slices.Sorted(maps.Keys(unproven)) {
		sorted = append(sorted, unproven[name])
	}
	return sorted
}

// holdsBack reports whether a chain waits for its turn: while others are tested
// it could be at fault, and one of them be blamed.
func (c *chains) holdsBack(chain route.Chain) bool {
	if c.trial == nil || slices.Contains(c.trial.testing, chain) {
		return false
	}
	_, proven := c.proven[chain]
	return !proven
}
