package server

import (
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// The secrets that filter chains name: the authorities of clients, and the two
// certificates of a pair. No client can ask for them.

// chainSecret is the content of a secret that filter chains name; ok is false if it is
// not one of those.
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

// pairMember is one of the two certificates of a name.
type pairMember struct {
	name  route.Hostname
	index int
}

// updatePairs notes which names have two certificates.
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

// updatePair brings a secret of a pair up to date if an Envoy subscribes to it.
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

// rejectPair goes back to the last good certificates of a name, of which an Envoy
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
