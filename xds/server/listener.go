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
type filterChains struct {
	listener *resource // for HTTPS

	dirty      bool    // the listeners are to be rendered
	renderNow  bool    // and at once, however long they are
	movedHosts []*host // whose chain is another since they were
	// rederived are the names whose override is another since the listeners were
	// rendered. Without a prover nobody has to know.
	movedNames map[route.Hostname]struct{}

	passthroughClusters []*cluster               // to which the listener hands connections on
	accepted            map[route.Chain]struct{} // by an Envoy that accepted the listener with them
	refused             map[route.Chain]string   // by an Envoy, whose message it is
	closed              map[route.Chain]struct{} // whose connections the listener closes
	trial               *trial[route.Chain]      // of the chains of a refused listener; nil: none was refused
	pairs               map[string]pairMember    // by the name of the resource
}

// pairSecret says which certificate a resource holds.
type pairMember struct {
	name  route.Hostname
	index int
}

// PublishClientCA makes authorities, certificates in PEM, those by which clients
// are verified whose host names the Kubernetes Secret. nil withdraws them:
// connections to such hosts are then refused.
func (s *Server) PublishClientCA(secret types.NamespacedName, authorities []byte) {
	name := envoy.ClientCAName(secret)
	s.update(func() {
		before := s.clientCAs[name]
		if authorities == nil {
			shrink.Delete(&s.clientCAs, name)
		} else {
			s.clientCAs[name] = envoy.ClientCA(secret, authorities).Body
		}
		for _, g := range s.gateways {
			// Without authorities, Envoys keep them until no chain names them.
			if r, asked := g.resources[kindSecret][name]; asked && authorities != nil {
				g.setResource(kindSecret, r.name, s.clientCAs[name])
			}
			g.chains.dirty = g.chains.dirty || (before == nil) != (authorities == nil) && g.verifiesClientsBy(name)
		}
	})
}

// demand reports whether a chain verifies clients by a secret.
func (g *gateway) verifiesClientsBy(secret string) bool {
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
const maxPromptNames = 200

// listenNow has the listeners rendered at the end of this change.
func (g *gateway) renderListenersNow() { g.chains.dirty, g.chains.renderNow = true, true }

// isToListen reports whether the listeners are to be rendered now. Otherwise they
// are soon, if they have to be.
func (g *gateway) listenersDue() bool {
	c := &g.chains
	if !c.dirty || c.renderNow || c.trial != nil || len(g.serverNames.Overrides()) <= maxPromptNames {
		return c.dirty
	}
	g.renderListenersLater()
	return false
}

// listen renders the listeners. A gateway that nobody asks for any more keeps
// those that it has, without the chains of what is withdrawn; one that nobody has
// asked for yet has none.
func (g *gateway) renderListeners() {
	c := &g.chains
	c.dirty, c.renderNow = false, false
	maps.DeleteFunc(c.refused, func(chain route.Chain, _ string) bool { return !g.serverNames.Uses(chain) })
	maps.DeleteFunc(c.accepted, func(chain route.Chain, _ struct{}) bool { return !g.serverNames.Uses(chain) })
	before := c.closed
	c.closed = g.closedChains()
	if g.isConfigured || g.hasListener() {
		g.setListeners()
	}
	g.updatePairs()
	g.verifyMovedNames(maps.Equal(before, c.closed))
	moved := c.movedHosts
	c.movedHosts = nil
	for _, h := range moved {
		h.chainPending, h.chainSeq = false, c.listener.seq
	}
	for _, h := range moved {
		g.advance(h)
	}
	// An Envoy that holds the very same version is not sent it, and will not
	// answer.
	g.wakeWaiters(c.listener)
	g.continueListenerTrial()
}

func (g *gateway) setListeners() {
	g.chains.passthroughClusters = nil
	for chain := range g.serverNames.Chains() {
		if c, ok := g.clusters[chain.Passthrough]; ok && chain.IsPassthrough() {
			g.chains.passthroughClusters = append(g.chains.passthroughClusters, c)
		}
	}
	wanted := make(map[string]struct{})
	for _, l := range append(envoy.Listeners(g.settings, g.admittedChains()), g.http3()...) {
		wanted[l.Name] = struct{}{}
		g.setResource(kindListener, l.Name, l.Body)
	}
	for name, r := range g.resources[kindListener] {
		if _, ok := wanted[name]; !ok && r.exists() {
			g.setResource(kindListener, name, nil)
		}
	}
}

// closedChains are the chains in use that refuse connections for now: those that
// no Envoy takes, or that cannot verify whom they should.
func (g *gateway) closedChains() map[route.Chain]struct{} {
	closed := make(map[route.Chain]struct{})
	for chain := range g.serverNames.Chains() {
		if g.admittedChain(chain).Closed {
			closed[chain] = struct{}{}
		}
	}
	return closed
}

// admitted are the chains as they can be served now.
func (g *gateway) admittedChains() map[route.Hostname]route.Chain {
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

func (g *gateway) admittedChain(c route.Chain) route.Chain {
	if _, refused := g.chains.refused[c]; refused || c != (route.Chain{}) && g.chains.holdsBack(c) || !g.canVerify(c) {
		return route.Chain{Closed: true}
	}
	return c
}

// proveDerived has proved again what may be served otherwise since the listeners
// were last rendered: for names whose chain is another, and if chains were
// closed or opened, for all.
func (g *gateway) verifyMovedNames(same bool) {
	names := g.chains.movedNames
	g.chains.movedNames = nil
	if !same {
		for name := range g.certificates.published {
			g.verifyName(name)
		}
		return
	}
	for name := range names {
		g.verifyName(name)
		for _, covered := range g.serverNames.CoveredBy(name) {
			g.verifyName(covered)
		}
	}
}

// rechained has the listeners rendered after names got other overrides. A host under
// such a name is not served before they are accepted.
func (g *gateway) chainsChanged(overrides []route.Hostname) {
	c := &g.chains
	for _, name := range overrides {
		c.dirty = true
		if h, ok := g.hosts[name]; ok && !h.chainPending {
			h.chainPending = true
			c.movedHosts = append(c.movedHosts, h)
		}
		if !g.verifier.HasSessions() {
			continue
		}
		if c.movedNames == nil {
			c.movedNames = make(map[route.Hostname]struct{})
		}
		c.movedNames[name] = struct{}{}
	}
}

// handshakes reports whether TLS for a name ends here.
func (g *gateway) terminatesTLS(name route.Hostname) bool {
	return g.admittedChain(g.serverNames.Chain(name)).EndsTLS()
}

// canVerify reports whether there are authorities for what c demands of clients.
func (g *gateway) canVerify(c route.Chain) bool {
	return c.Client == (route.ClientPolicy{}) || g.server.clientCAs[envoy.ClientCAName(c.Client.CA)] != nil
}

// provided is the secret of that name, if it is one that filter chains ask for
// and no client can.
func (g *gateway) chainSecret(name string) (body []byte, ours bool) {
	if envoy.IsServerName(name) {
		return nil, false
	}
	if authorities, ok := g.server.clientCAs[name]; ok {
		return authorities, true
	}
	if p, ok := g.chains.pairs[name]; ok {
		return g.pairSecretBody(name, p), true
	}
	return nil, true
}

// providePairs notes which names have two certificates.
func (g *gateway) updatePairs() {
	before := g.chains.pairs
	g.chains.pairs = make(map[string]pairMember)
	for c := range g.serverNames.Chains() {
		if c.Pair == "" {
			continue
		}
		for i := range 2 {
			name := envoy.PairSecretName(c.Pair, i)
			g.chains.pairs[name] = pairMember{c.Pair, i}
			if _, known := before[name]; !known {
				g.updatePair(name)
			}
		}
	}
}

// providePair brings the secret of a pair up to date if Envoys ask for it.
func (g *gateway) updatePair(secret string) {
	p, ok := g.chains.pairs[secret]
	if _, asked := g.resources[kindSecret][secret]; ok && asked {
		g.setResource(kindSecret, secret, g.pairSecretBody(secret, p))
	}
}

func (g *gateway) pairSecretBody(name string, p pairMember) []byte {
	certificate := g.certificates.published[p.name].usable()
	if certificate != nil && p.index == 1 {
		certificate = certificate.Other
	}
	if certificate == nil {
		return nil
	}
	return envoy.Secret(name, certificate.Chain, certificate.Key.Reveal()).Body
}

// recertified notes that the certificates of a name are others.
func (g *gateway) certificateChanged(name route.Hostname) {
	g.chainsChanged(g.serverNames.SetCertificate(name, g.certificates.published[name].usable()))
	for i := range 2 {
		g.updatePair(envoy.PairSecretName(name, i))
	}
}

// blamePair goes back to the last good certificates of a name of which an Envoy
// refused one.
func (g *gateway) rejectPair(p pairMember, detail string) {
	from := g.certificates.published[p.name]
	if from == nil {
		return
	}
	from.refused = true
	g.server.notifier.certificateRejected(route.Key{Gateway: g.name, Host: p.name}, detail)
	g.certificateChanged(p.name)
	g.updateSecrets(p.name)
}

// chained reports whether every current Envoy treats connections for h as they
// shall be.
func (g *gateway) chainAcked(h *host) bool {
	if h.chainPending || h.chainSeq > 0 && !g.allAcked(g.chains.listener, h.chainSeq) {
		h.waitingFor = "listener " + envoy.HTTPS
		g.chains.listener.addWaiter(h)
		return false
	}
	return true
}

// acceptedListener notes that an Envoy took the newest HTTPS listener.
func (g *gateway) listenerACKed(r *resource) {
	if r != g.chains.listener {
		return
	}
	g.chains.accepted = make(map[route.Chain]struct{})
	for c := range g.serverNames.Chains() {
		if _, closed := g.chains.closed[c]; !closed {
			g.chains.accepted[c] = struct{}{}
		}
	}
}

// judgedListener goes on with the trial of a listener when its judge has accepted
// the newest version, or is gone.
func (g *gateway) continueListenerTrial() {
	c := &g.chains
	if c.trial == nil || c.trial.isOpen(c.listener) {
		return
	}
	if !c.trial.next() {
		c.trial = nil
	}
	c.dirty = true // with the next group, or with the chains that came meanwhile
}

// blameListener halves the chains that may be at fault for a refused listener,
// and refuses the last one. It reports false if the fault is not in a chain.
func (g *gateway) rejectListener(s *stream, detail string) bool {
	c := &g.chains
	if c.trial == nil {
		c.trial = &trial[route.Chain]{}
		c.trial.test(g.unacceptedChains())
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
				g.rejectVersion(h, h.wanted, detail)
			}
		}
	}
	c.dirty = true
	return true
}

// unprovenChains are those of the listener that no Envoy is known to accept.
func (g *gateway) unacceptedChains() []route.Chain {
	unproven := make(map[string]route.Chain)
	for c := range g.serverNames.Chains() {
		_, proven := g.chains.accepted[c]
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
func (c *filterChains) holdsBack(chain route.Chain) bool {
	if c.trial == nil || slices.Contains(c.trial.testing(), chain) {
		return false
	}
	_, proven := c.accepted[chain]
	return !proven
}
