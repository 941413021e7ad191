package server

import (
	"maps"
	"slices"
	"time"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// Package route says which filter chain of the HTTPS listener a connection gets. Here
// the chains are rendered, and the chain is found that an Envoy refuses.

// filterChains are those of one gateway.
type filterChains struct {
	listener *resource // for HTTPS

	dirty      bool    // the listeners must be rendered
	renderNow  bool    // and at once, however long they are
	movedHosts []*host // whose chain has changed since the listeners were rendered
	// movedNames are the names whose override has changed since then. They are kept
	// only while there is a prover.
	movedNames map[route.Hostname]struct{}

	passthroughClusters []*cluster               // to which the listener passes connections on
	accepted            map[route.Chain]struct{} // those of the last listener that an Envoy accepted
	refused             map[route.Chain]string   // with the Envoy's message
	closed              map[route.Chain]struct{} // their connections are closed
	trial               *trial[route.Chain]      // of the chains of a refused listener; nil: none was refused
	pairs               map[string]pairMember    // by the name of the resource
}

// maxPromptNames bounds the number of overrides (route.ServerNames) up to which the
// listeners are rendered at each change. There are more if a wildcard or the default
// host has a chain that most hosts have not. Then changes are gathered for renderDelay.
const maxPromptNames = 200

// renderDelay is how long changes of a long listener are gathered: each change makes Envoy
// read all of it.
const renderDelay = 250 * time.Millisecond

// chainsChanged has the listeners rendered, because the overrides of names changed
// (route.ServerNames). A host under such a name is not served before the listeners are
// ACKed.
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

// listenersDue reports whether the listeners must be rendered now. Otherwise a timer
// renders them, if they have changed.
func (g *gateway) listenersDue() bool {
	c := &g.chains
	if !c.dirty || c.renderNow || c.trial != nil || len(g.serverNames.Overrides()) <= maxPromptNames {
		return c.dirty
	}
	g.renderListenersLater()
	return false
}

// renderListenersNow has the listeners rendered at the end of this change.
func (g *gateway) renderListenersNow() { g.chains.dirty, g.chains.renderNow = true, true }

// renderListenersLater has the listeners rendered after renderDelay.
func (g *gateway) renderListenersLater() {
	if g.renderTimerSet {
		return
	}
	g.renderTimerSet = true
	g.server.after(renderDelay, func() {
		g.renderTimerSet = false
		g.renderListenersNow()
	})
}

// renderListeners renders the listeners. A gateway that was withdrawn keeps those that
// it has, without the chains of withdrawn hosts. A gateway that was never configured has
// none.
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
	// An Envoy that holds the very same version is not sent it, and does not answer.
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

// admittedChains are the overrides of the gateway as they can be served now.
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

// admittedChain is a chain as it can be served now: itself, or a closed one.
func (g *gateway) admittedChain(c route.Chain) route.Chain {
	if _, refused := g.chains.refused[c]; refused || c != (route.Chain{}) && g.chains.holdsBack(c) || !g.canVerify(c) {
		return route.Chain{Closed: true}
	}
	return c
}

// closedChains are the chains in use whose connections are refused for now: an Envoy
// refused the chain, or there are no authorities to verify clients by.
func (g *gateway) closedChains() map[route.Chain]struct{} {
	closed := make(map[route.Chain]struct{})
	for chain := range g.serverNames.Chains() {
		if g.admittedChain(chain).Closed {
			closed[chain] = struct{}{}
		}
	}
	return closed
}

// canVerify reports whether there are authorities for the demand of c on clients.
func (g *gateway) canVerify(c route.Chain) bool {
	return c.Client == (route.ClientPolicy{}) || g.server.clientCAs[envoy.ClientCAName(c.Client.CA)] != nil
}

// terminatesTLS reports whether TLS for a name ends at the gateway.
func (g *gateway) terminatesTLS(name route.Hostname) bool {
	return g.admittedChain(g.serverNames.Chain(name)).EndsTLS()
}

// verifyMovedNames has certificates verified again that clients may get differently
// since the listeners were last rendered: of names with another chain, and, if chains
// were closed or opened, of all names.
func (g *gateway) verifyMovedNames(sameClosed bool) {
	names := g.chains.movedNames
	g.chains.movedNames = nil
	if !sameClosed {
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

// chainAcked reports whether every synced Envoy has the filter chain of h.
func (g *gateway) chainAcked(h *host) bool {
	if h.chainPending || h.chainSeq > 0 && !g.allAcked(g.chains.listener, h.chainSeq) {
		h.waitingFor = "listener " + envoy.HTTPS
		g.chains.listener.addWaiter(h)
		return false
	}
	return true
}

// listenerACKed notes that an Envoy accepted the newest HTTPS listener.
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

// rejectListener tests half of the chains that may be at fault for a refused listener,
// and refuses the chain that is found. It reports false if no chain is at fault.
func (g *gateway) rejectListener(s *stream, detail string) bool {
	c := &g.chains
	if c.trial == nil {
		c.trial = &trial[route.Chain]{}
		c.trial.test(g.unacceptedChains())
	}
	c.trial.judge = s
	if len(c.trial.testing()) == 0 { // all chains are good, or there is none
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

// continueListenerTrial puts the next chains to the test when the judge has accepted the
// newest listener, or has left.
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

// unacceptedChains are the chains of the listener that no Envoy is known to accept,
// ordered by name.
func (g *gateway) unacceptedChains() []route.Chain {
	unaccepted := make(map[string]route.Chain)
	for c := range g.serverNames.Chains() {
		_, accepted := g.chains.accepted[c]
		_, closed := g.chains.closed[c]
		if !accepted && !closed && c != (route.Chain{}) {
			unaccepted[envoy.ChainName(c)] = c
		}
	}
	var sorted []route.Chain
	for _, name := range slices.Sorted(maps.Keys(unaccepted)) {
		sorted = append(sorted, unaccepted[name])
	}
	return sorted
}

// holdsBack reports whether a chain waits while others are tested: otherwise it could be
// at fault, and one of them be blamed.
func (c *filterChains) holdsBack(chain route.Chain) bool {
	if c.trial == nil || slices.Contains(c.trial.testing(), chain) {
		return false
	}
	_, accepted := c.accepted[chain]
	return !accepted
}
