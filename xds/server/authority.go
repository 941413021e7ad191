package server

import (
	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// PublishAuthority makes certificates (PEM) what vouches for the backends whose
// clusters name the authority, in all gateways; with none, nobody does, and no
// such backend is spoken to. So it is also while nothing is published. A change
// closes no connection and waits for no Envoy.
func (s *Server) PublishAuthority(authority route.Authority, certificates []byte) {
	s.do(func() {
		if len(certificates) == 0 {
			shrink.Delete(&s.authorities, authority)
		} else {
			s.authorities[authority] = certificates
		}
		for _, g := range s.gateways {
			if g.vouched[authority] > 0 {
				g.vouch(authority)
			}
		}
	})
}

// vouch publishes the secret of an authority to the Envoys that ask for it.
func (g *gateway) vouch(authority route.Authority) {
	secret := envoy.Authority(authority, g.server.authorities[authority])
	g.set(kindSecret, secret.Name, secret.Body)
}

// vouchFor has the secret of the authority that c names published, for as long
// as there is a cluster that names it.
func (g *gateway) vouchFor(c *cluster) {
	authority := c.value.Authority
	if authority == (route.Authority{}) || !c.value.TLS {
		return
	}
	c.authority = g.hold(kindSecret, envoy.AuthorityName(authority))
	g.vouched[authority]++
	g.vouch(authority)
}

// vouchNoMore is the inverse of vouchFor. An Envoy that has not yet let go of the
// cluster keeps the secret.
func (g *gateway) vouchNoMore(c *cluster) {
	if c.authority == nil {
		return
	}
	authority := c.value.Authority
	if g.vouched[authority]--; g.vouched[authority] == 0 {
		delete(g.vouched, authority)
	}
	g.unhold(c.authority)
}
