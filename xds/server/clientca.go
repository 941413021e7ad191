package server

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// PublishClientCA makes authorities, certificates in PEM, those that verify clients of
// the hosts which name the Kubernetes Secret. nil withdraws them: connections to such
// hosts are then refused.
func (s *Server) PublishClientCA(secret types.NamespacedName, authorities []byte) {
	name := envoy.ClientCAName(secret)
	s.update(func() {
		before := s.clientCAs[name]
		if authorities == nil {
			delete(s.clientCAs, name)
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

// verifiesClientsBy reports whether a chain verifies clients by a secret.
func (g *gateway) verifiesClientsBy(secret string) bool {
	for chain := range g.serverNames.Chains() {
		if chain.Client != (route.ClientPolicy{}) && envoy.ClientCAName(chain.Client.CA) == secret {
			return true
		}
	}
	return false
}
