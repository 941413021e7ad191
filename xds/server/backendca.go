package server

import (
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// PublishAuthority makes certificates (PEM) the CA of the backends whose clusters name
// the authority, in all gateways. Without certificates, and before the first are
// published, Envoys connect to no such backend. A change closes no connection and waits
// for no Envoy.
func (s *Server) PublishAuthority(authority route.Authority, certificates []byte) {
	s.update(func() {
		if len(certificates) == 0 {
			delete(s.authorities, authority)
		} else {
			s.authorities[authority] = certificates
		}
		for _, g := range s.gateways {
			if g.backendCARefs[authority] > 0 {
				g.publishBackendCA(authority)
			}
		}
	})
}

// publishBackendCA publishes the secret of an authority to the Envoys that subscribe to
// it.
func (g *gateway) publishBackendCA(authority route.Authority) {
	secret := envoy.Authority(authority, g.server.authorities[authority])
	g.setResource(kindSecret, secret.Name, secret.Body)
}

// acquireBackendCA publishes the secret of the authority that c names, for as long as
// some cluster names it.
func (g *gateway) acquireBackendCA(c *cluster) {
	authority := c.value.Authority
	if authority == (route.Authority{}) || !c.value.TLS {
		return
	}
	c.caSecret = g.retainResource(kindSecret, envoy.AuthorityName(authority))
	g.backendCARefs[authority]++
	g.publishBackendCA(authority)
}

// releaseBackendCA is the inverse of acquireBackendCA. An Envoy that still has the
// cluster keeps the secret.
func (g *gateway) releaseBackendCA(c *cluster) {
	if c.caSecret == nil {
		return
	}
	authority := c.value.Authority
	if g.backendCARefs[authority]--; g.backendCARefs[authority] == 0 {
		delete(g.backendCARefs, authority)
	}
	g.releaseResource(c.caSecret)
}
