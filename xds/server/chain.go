package server

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// route.ServerNames says which filter chain of the HTTPS listener the connections for
// a server name get. Here the chains are rendered, and what they ask for is provided.

// chains are those of one gateway.
type chains struct {
	listener *resource // for HTTPS

	stale bool    // the listeners are to be rendered
	due   bool    // and at once, however long they are
	moved []*host // whose chain is another since they were
	// rederived are the names whose override is another since the listeners were
	// rendered. Without a prover nobody has to know.
	rederived map[route.Hostname]struct{}

	passed  []*cluster               // to which the listener hands connections on
	proven  map[route.Chain]struct{} // by an Envoy that accepted the listener with them
	refused map[route.Chain]string   // by an Envoy, whose message it is
	closed  map[route.Chain]struct{} // whose connections the listener closes
	trial   *trial[route.Chain]      // of the chains of a refused listener; nil: none was refused
	pairs   map[string]pairSecret    // by the name of the resource
}

// pairSecret says which certificate a resource holds.
type pairSecret struct {
	name  route.Hostname
	index int
}

// PublishClientCA makes authorities, certificates in PEM, those by which clients
// are verified whose host names the Kubernetes Secret. nil withdraws them:
// connections to such hosts are then refused.
func (s *Server) PublishClientCA(secret types.NamespacedName, authorities []byte) {
	name := envoy.ClientCAName(secret)
	s.do(func() {
		before := s.clientCAs[name]
		if authorities == nil {
			shrink.Delete(&s.clientCAs, name)
		} else {
			s.clientCAs[name] = envoy.ClientCA(secret, authorities).Body
		}
		for _, g := range s.gateways {
			// Without authorities, Envoys keep them until no chain names them.
			if r, asked := g.resources[kindSecret][name]; asked && authorities != nil {
				g.set(kindSecret, r.name, s.clientCAs[name])
			}
			g.chains.stale = g.chains.stale || (before == nil) != (authorities == nil) && g.demand(name)
		}
	})
}

// demand reports whether a chain verifies clients by a secret.
func (g *gateway) demand(secret string) bool {
	for chain := range g.serverNames.Chains() {
		if chain.Client != (route.ClientPolicy{}) && envoy.ClientCAName(chain.Client.CA) == secret {
			return true
		}
	}
	return false
}

// promptNames is up to how many names with a chain that is not that of what covers
// them the listeners are rendered at each change. Where there are more, because a
// wildcard or the default host has one that most hosts have not, changes are
// gathered.
const promptNames = 200

// listenNow has the listeners rendered at the end of this change.
func (g *gateway) listenNow() { g.chains.stale, g.chains.due = true, true }

// isToListen reports whether the listeners are to be rendered now. Otherwise they
// are soon, if they have to be.
func (g *gateway) isToListen() bool {
	c := &g.chains
	if !c.stale || c.due || c.trial != nil || len(g.serverNames.Overrides()) <= promptNames {
		return c.stale
	}
	g.listenLater()
	return false
}

// listen renders the listeners. A gateway that nobody asks for any more keeps
// those that it has, without the chains of what is withdrawn; one that nobody has
// asked for yet has none.
func (g *gateway) listen() {
	c := &g.chains
	c.stale, c.due = false, false
	maps.DeleteFunc(c.refused, func(chain route.Chain, _ string) bool { return !g.serverNames.Uses(chain) })
	maps.DeleteFunc(c.proven, func(chain route.Chain, _ struct{}) bool { return !g.serverNames.Uses(chain) })
	before := c.closed
	c.closed = g.closedChains()
	if g.asked || g.listens() {
		g.renderListeners()
	}
	g.providePairs()
	g.proveDerived(maps.Equal(before, c.closed))
	moved := c.moved
	c.moved = nil
	for _, h := range moved {
		h.moved, h.chainSeq = false, c.listener.seq
	}
	for _, h := range moved {
		g.advance(h)
	}
	// An Envoy that holds the very same version is not sent it, and will not
	// answer.
	g.progressed(c.listener)
	g.judgedListener()
}

func (g *gateway) renderListeners() {
	g.chains.passed = nil
	for chain := range g.serverNames.Chains() {
		if c, ok := g.clusters[chain.Passthrough]; ok && chain.IsPassthrough() {
			g.chains.passed = append(g.chains.passed, c)
		}
	}
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
}

// closedChains are the chains in use that refuse connections for now: those that
// no Envoy takes, or that cannot verify whom they should.
func (g *gateway) closedChains() map[route.Chain]struct{} {
	closed := make(map[route.Chain]struct{})
	for chain := range g.serverNames.Chains() {
		if g.admit(chain).Closed {
			closed[chain] = struct{}{}
		}
	}
	return closed
}

// admitted are the chains as they can be served now.
func (g *gateway) admitted() map[route.Hostname]route.Chain {
	overrides := g.serverNames.Overrides()
	admitted := make(map[route.Hostname]route.Chain, len(overrides))
	for name, c := range overrides {
		if _, closed := g.chains.closed[c]; closed {
			c = route.Chain{Closed: true}
		}
		admitted[name] = c
	}
	return admitted
}

func (g *gateway) admit(c route.Chain) route.Chain {
	if _, refused := g.chains.refused[c]; refused || c != (route.Chain{}) && g.chains.holdsBack(c) || !g.canVerify(c) {
		return route.Chain{Closed: true}
	}
	return c
}

// proveDerived has proved again what may be served otherwise since the listeners
// were last rendered: for names whose chain is another, and if chains were
// closed or opened, for all.
func (g *gateway) proveDerived(same bool) {
	names := g.chains.rederived
	g.chains.rederived = nil
	if !same {
		for name := range g.certificates.slots {
			g.proveAgain(name)
		}
		return
	}
	for name := range names {
		g.proveAgain(name)
		for _, covered := range g.serverNames.CoveredBy(name) {
			g.proveAgain(covered)
		}
	}
}

// rechained has the listeners rendered after names got other overrides. A host under
// such a name is not served before they are accepted.
func (g *gateway) rechained(overrides []route.Hostname) {
	c := &g.chains
	for _, name := range overrides {
		c.stale = true
		if h, ok := g.hosts[name]; ok && !h.moved {
			h.moved = true
			c.moved = append(c.moved, h)
		}
		if !g.verifier.HasSessions() {
			continue
		}
		if c.rederived == nil {
			c.rederived = make(map[route.Hostname]struct{})
		}
		c.rederived[name] = struct{}{}
	}
}

// handshakes reports whether TLS for a name ends here.
func (g *gateway) handshakes(name route.Hostname) bool {
	return g.admit(g.serverNames.Chain(name)).EndsTLS()
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

// providePairs notes which names have two certificates.
func (g *gateway) providePairs() {
	before := g.chains.pairs
	g.chains.pairs = make(map[string]pairSecret)
	for c := range g.serverNames.Chains() {
		if c.Pair == "" {
			continue
		}
		for i := range 2 {
			name := envoy.PairSecretName(c.Pair, i)
			g.chains.pairs[name] = pairSecret{c.Pair, i}
			if _, known := before[name]; !known {
				g.providePair(name)
			}
		}
	}
}

// providePair brings the secret of a pair up to date if Envoys ask for it.
func (g *gateway) providePair(secret string) {
	p, ok := g.chains.pairs[secret]
	if _, asked := g.resources[kindSecret][secret]; ok && asked {
		g.set(kindSecret, secret, g.pairBody(secret, p))
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
	g.rechained(g.serverNames.SetCertificate(name, g.certificates.slots[name].usable()))
	for i := range 2 {
		g.providePair(envoy.PairSecretName(name, i))
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
	g.recertified(p.name)
	g.lookAgain(p.name)
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
	for c := range g.serverNames.Chains() {
		if _, closed := g.chains.closed[c]; !closed {
			g.chains.proven[c] = struct{}{}
		}
	}
}

// judgedListener goes on with the trial of a listener when its judge has accepted
// the newest version, or is gone.
func (g *gateway) judgedListener() {
	c := &g.chains
	if c.trial == nil || c.trial.isOpen(c.listener) {
		return
	}
	if !c.trial.next() {
		c.trial = nil
	}
	c.stale = true // with the next group, or with the chains that came meanwhile
}

// blameListener halves the chains that may be at fault for a refused listener,
// and refuses the last one. It reports false if the fault is not in a chain.
func (g *gateway) blameListener(s *stream, detail string) bool {
	c := &g.chains
	if c.trial == nil {
		c.trial = &trial[route.Chain]{}
		c.trial.test(g.unprovenChains())
	}
	c.trial.judge = s
	if len(c.trial.testing()) == 0 { // what is left was good, or there is none
		c.trial = nil
		return false
	}
	if culprit, found, _ := c.trial.refused(); found {
		c.refused[culprit] = detail
		for _, h := range g.hosts {
			if h.wanted != nil && g.serverNames.Chain(h.key.Host) == culprit {
				g.refuse(h, h.wanted, detail)
			}
		}
	}
	c.stale = true
	return true
}

// unprovenChains are those of the listener that no Envoy is known to accept.
func (g *gateway) unprovenChains() []route.Chain {
	unproven := make(map[string]route.Chain)
	for c := range g.serverNames.Chains() {
		_, proven := g.chains.proven[c]
		_, closed := g.chains.closed[c]
		if !proven && !closed && c != (route.Chain{}) {
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
	if c.trial == nil || slices.Contains(c.trial.testing(), chain) {
		return false
	}
	_, proven := c.proven[chain]
	return !proven
}
