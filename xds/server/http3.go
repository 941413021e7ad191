package server

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// The listener of HTTP/3 takes no certificates on demand: it lists every name that has
// one. So it changes when a name gets its first certificate or loses its last one, and
// then Envoy closes the connections of that name alone. A certificate that replaces
// another one changes its secret only.

// maxListed bounds how many names the listener of HTTP/3 lists, which Envoy reads at each
// change. The names beyond it, in order, have no HTTP/3.
const maxListed = 500

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

// listedNames are the names with a certificate of their own, sorted, and route.AnyHost
// if there is a default certificate. Names whose clients are verified, or whose
// connections are passed on, are not among them: only the chains of HTTPS can do that.
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

// hasPlainChain reports whether connections for a name are neither verified nor passed
// on.
func (g *gateway) hasPlainChain(name route.Hostname) bool {
	c := g.serverNames.Chain(name)
	return c.Client == (route.ClientPolicy{}) && !c.IsPassthrough()
}

// hasExactHost reports whether there is a host of that very name, which is no wildcard.
func (g *gateway) hasExactHost(name route.Hostname) bool {
	h, ok := g.hosts[name]
	return ok && h.wanted != nil && !strings.HasPrefix(string(name), "*")
}

// renderHTTP3Soon has the listener of HTTP/3 rendered, together with the changes within
// renderDelay.
func (g *gateway) renderHTTP3Soon() {
	if g.settings.TLS.HTTP3 && g.server.open {
		g.renderListenersLater()
	}
}
