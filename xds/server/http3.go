package server

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// The listener of HTTP/3 takes no certificates on demand: it names those of all
// names that have one. So it changes when a name gets its first certificate or
// loses its last one, and then Envoy closes the connections of that name alone.
// A certificate that takes the place of another changes its secret only.

const (
	// listenDelay is how long changes of a long listener are gathered: each makes
	// Envoy read all of it.
	renderDelay = 250 * time.Millisecond
	// maxListed bounds how many names the listener has, and Envoy reads at each
	// change. The others, in order, have no HTTP/3.
	maxListed = 500
)

// http3 is the listener of HTTP/3, if there is one.
func (g *gateway) http3() []envoy.Resource {
	if !g.settings.TLS.HTTP3 || g.settings.HTTPSPort == 0 {
		return nil
	}
	names := g.listedNames()
	if len(names) == 0 {
		return nil // Envoy takes no listener without chains
	}
	return []envoy.Resource{envoy.HTTP3Listener(g.settings, names)}
}

// listedNames are the names with a certificate of their own, sorted, and
// route.AnyHost if there is one for others. Names whose connections are verified,
// or passed on, are not among them: only HTTPS's chains do that.
func (g *gateway) listedNames() []envoy.Listed {
	var names []envoy.Listed
	for name, slot := range g.certificates.published {
		if name != route.AnyHost && slot.usable() != nil && g.hasPlainChain(name) {
			names = append(names, envoy.Listed{Name: name, Served: g.hasExactHost(name)})
		}
	}
	slices.SortFunc(names, func(a, b envoy.Listed) int { return cmp.Compare(a.Name, b.Name) })
	if len(names) > maxListed {
		names = names[:maxListed]
	}
	if g.certificateOf(route.AnyHost) != nil && g.hasPlainChain(route.AnyHost) {
		names = append(names, envoy.Listed{Name: route.AnyHost})
	}
	return names
}

// isOpen reports whether connections for a name need no chain for what they demand.
func (g *gateway) hasPlainChain(name route.Hostname) bool {
	c := g.serverNames.Chain(name)
	return c.Client == (route.ClientPolicy{}) && !c.IsPassthrough()
}

// isHost reports whether there is a host of that very name, which is no wildcard.
func (g *gateway) hasExactHost(name route.Hostname) bool {
	h, ok := g.hosts[name]
	return ok && h.wanted != nil && !strings.HasPrefix(string(name), "*")
}

// listenSoon brings the listener of HTTP/3 up to date, together with what
// follows within listenDelay.
func (g *gateway) renderHTTP3Soon() {
	if g.settings.TLS.HTTP3 && g.server.open {
		g.renderListenersLater()
	}
}

// listenLater has the listeners rendered after listenDelay.
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
