package server

import (
	"container/list"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// certificates are those of one gateway, and the secrets that Envoys ask for by server
// name.
type certificates struct {
	published map[route.Hostname]*publishedCertificate
	requested map[*resource]*sniSecret
	byName    map[route.Hostname]map[*sniSecret]struct{} // by name, and by the wildcard that covers it
	shared    *list.List                                 // of *look, oldest first
}

func newCertificates() certificates {
	return certificates{
		published: make(map[route.Hostname]*publishedCertificate),
		requested: make(map[*resource]*sniSecret),
		byName:    make(map[route.Hostname]map[*sniSecret]struct{}),
		shared:    list.New(),
	}
}

// PublishCertificate makes certificate that of a server name of a gateway: of a full
// name, of a wildcard, or of route.AnyHost for clients that send no name and for hosts
// without a certificate. nil withdraws it. A key without a gateway means the default of
// all gateways that have none of their own.
func (s *Server) PublishCertificate(key route.Key, certificate *route.Certificate) {
	s.update(func() {
		if key.Gateway == "" {
			if s.defaultCertificate.put(certificate) {
				s.notifier.certificateRejected(key, "")
			}
			for _, g := range s.gateways {
				g.updateSecrets(route.AnyHost)
				g.renderHTTP3Soon()
			}
			return
		}
		g, ok := s.gateways[key.Gateway]
		if !ok {
			if certificate == nil {
				return
			}
			g = s.gateway(key.Gateway)
		}
		g.publishCertificate(key.Host, certificate)
	})
}

func (g *gateway) publishCertificate(name route.Hostname, certificate *route.Certificate) {
	all := g.certificates.published
	if all[name] == nil {
		if certificate == nil {
			return
		}
		all[name] = &publishedCertificate{}
	}
	if all[name].put(certificate) {
		g.server.notifier.certificateRejected(route.Key{Gateway: g.name, Host: name}, "")
	}
	if certificate == nil {
		shrink.Delete(&g.certificates.published, name)
	}
	g.certificateChanged(name)
	g.updateSecrets(name)
	g.renderHTTP3Soon()
}

// publishedCertificate is the certificate that is published under a name, a wildcard, or
// route.AnyHost for the default one.
type publishedCertificate struct {
	newest   *route.Certificate // nil: withdrawn
	lastGood *route.Certificate // newest that an Envoy accepted
	// refused says that an Envoy refused newest.
	refused bool
}

// usable is the certificate that is served, nil for none.
func (s *publishedCertificate) usable() *route.Certificate {
	switch {
	case s == nil || s.newest == nil:
		return nil
	case s.refused:
		return s.lastGood
	}
	return s.newest
}

// put makes certificate the newest. It reports whether that ends a refusal.
func (s *publishedCertificate) put(certificate *route.Certificate) (mended bool) {
	if s.newest.Equal(certificate) {
		return false
	}
	mended = s.refused
	s.newest, s.refused = certificate, false
	return mended
}

// certificateChanged tells the server names that the certificate of a name is another
// one.
func (g *gateway) certificateChanged(name route.Hostname) {
	g.chainsChanged(g.serverNames.SetCertificate(name, g.certificates.published[name].usable()))
	for i := range 2 {
		g.updatePair(envoy.PairSecretName(name, i))
	}
}

// certificateFor is the certificate that clients get under a name, and whether it is the
// name's own. nil: clients get none.
func (g *gateway) certificateFor(name route.Hostname) (from *publishedCertificate, own bool) {
	owner, ok := g.serverNames.Certificate(name)
	if !ok {
		return nil, false
	}
	if from := g.certificates.published[owner]; from.usable() != nil {
		return from, owner == name
	}
	return &g.server.defaultCertificate, owner == name
}

// certificateOf is the certificate that is published under a name itself; nil: none is.
func (g *gateway) certificateOf(name route.Hostname) *publishedCertificate {
	if from := g.certificates.published[name]; from.usable() != nil {
		return from
	}
	if name == route.AnyHost && g.server.defaultCertificate.usable() != nil {
		return &g.server.defaultCertificate
	}
	return nil
}
