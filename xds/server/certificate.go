package server

import (
	"container/list"
	"strings"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// Envoy asks for a certificate when a handshake wants one, by the server name
// that the client sent, and expects it under that very name. So a Secret exists
// here only while an Envoy asks for it; its certificate is looked up when it
// does, and again when a certificate changes that it could have.

// maxBorrowed bounds how many names an Envoy can have at once whose certificate
// is that of a wildcard or the default one: anybody can invent such names, and
// Envoy keeps what it has got. Beyond it the one asked for first goes; whoever
// connects under it next waits for one exchange with us.
const maxShared = 2000

// slot is where a certificate is published: a name, a wildcard, or the default.
type publishedCertificate struct {
	newest   *route.Certificate // nil: withdrawn
	lastGood *route.Certificate // newest that an Envoy accepted
	// refused says that no Envoy takes newest.
	refused bool
}

// usable is what is served from the slot, nil for nothing.
func (s *publishedCertificate) usable() *route.Certificate {
	switch {
	case s == nil || s.newest == nil:
		return nil
	case s.refused:
		return s.lastGood
	}
	return s.newest
}

// look is what is known of a name that some Envoy asks for.
type sniSecret struct {
	resource *resource
	name     route.Hostname        // as we spell it
	source   *publishedCertificate // nil: nothing is served
	served   *route.Certificate
	shared   *list.Element // in certificates.borrowed, nil if the name has one of its own
	evicted  bool          // until it is asked for again
	// listed says that a listener names it, so that it is served from the slot of
	// that very name alone.
	listed bool
}

func newSNISecret(r *resource) *sniSecret {
	if name, ok := envoy.ListedName(r.name); ok {
		return &sniSecret{resource: r, name: name, listed: true}
	}
	return &sniSecret{resource: r, name: serverName(r.name)}
}

// certificates are those of one gateway, and who asks for them.
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

// PublishCertificate makes certificate what is served under a server name of a
// gateway: a full name, a wildcard, or route.AnyHost for clients that send no
// name and for hosts that have no certificate. nil withdraws it. Without a
// gateway it is the default of all gateways, for where they have none.
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

// put makes certificate the newest of the slot. It reports whether that ends a
// refusal.
func (s *publishedCertificate) put(certificate *route.Certificate) (mended bool) {
	if s.newest.Equal(certificate) {
		return false
	}
	mended = s.refused
	s.newest, s.refused = certificate, false
	return mended
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

// slotOf is the slot of a name itself; nil: there is none.
func (g *gateway) certificateOf(name route.Hostname) *publishedCertificate {
	if from := g.certificates.published[name]; from.usable() != nil {
		return from
	}
	if name == route.AnyHost && g.server.defaultCertificate.usable() != nil {
		return &g.server.defaultCertificate
	}
	return nil
}

// lookUp is the slot whose certificate is shown under a name, and whether it is the
// name's own. nil: none is shown.
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

// askedFor notes that an Envoy asks for a name, which is looked up now.
func (g *gateway) secretSubscribed(r *resource) {
	if body, ours := g.chainSecret(r.name); ours {
		g.setResource(kindSecret, r.name, body)
		return
	}
	if envoy.IsAuthorityName(r.name) {
		return // there as long as a cluster names it
	}
	c := &g.certificates
	l, ok := c.requested[r]
	if !ok {
		l = newSNISecret(r)
		c.requested[r] = l
		for _, name := range l.names() {
			if c.byName[name] == nil {
				c.byName[name] = make(map[*sniSecret]struct{})
			}
			c.byName[name][l] = struct{}{}
		}
	}
	l.evicted = false
	g.updateSecret(l)
}

// serverName is the one spelling of a name that a client sent.
func serverName(sent string) route.Hostname {
	if sent == envoy.NoServerName {
		return route.AnyHost
	}
	name := strings.TrimSuffix(strings.ToLower(sent), ".")
	if strings.HasPrefix(name, "*") {
		return "" // no client has that name: nobody serves it
	}
	return route.Hostname(name)
}

// names are those by whose certificates or hosts l is served.
func (l *sniSecret) names() []route.Hostname {
	if wildcard, ok := l.name.Wildcard(); ok && !l.listed {
		return []route.Hostname{l.name, wildcard}
	}
	return []route.Hostname{l.name}
}

// left notes that no Envoy asks for a name any more.
func (g *gateway) secretUnsubscribed(r *resource) {
	c := &g.certificates
	l, ok := c.requested[r]
	if !ok {
		return
	}
	shrink.Delete(&c.requested, r)
	for _, name := range l.names() {
		delete(c.byName[name], l)
		if len(c.byName[name]) == 0 {
			shrink.Delete(&c.byName, name)
		}
	}
	c.unshare(l)
}

// lookAgain looks up all names whose certificate may be another one, now that
// the certificate or the host of that name has changed.
func (g *gateway) updateSecrets(name route.Hostname) {
	g.verifyName(name)
	if name == route.AnyHost {
		for _, l := range g.certificates.requested {
			g.updateSecret(l)
		}
		return
	}
	for l := range g.certificates.byName[name] {
		g.updateSecret(l)
	}
}

// look makes the resource of l what is served under its name now.
func (g *gateway) updateSecret(l *sniSecret) {
	if l.evicted {
		return
	}
	from, own := g.certificateFor(l.name)
	if l.listed {
		from, own = g.certificateOf(l.name), true
	}
	l.source, l.served = from, from.usable()
	if l.served == nil && l.listed && l.resource.exists() {
		return // until the listener names it no more
	}
	if l.served == nil {
		g.certificates.unshare(l)
		g.setResource(kindSecret, l.resource.name, nil)
		return
	}
	g.setResource(kindSecret, l.resource.name, envoy.Secret(l.resource.name, l.served.Chain, l.served.Key.Reveal()).Body)
	if own || g.isProofName(l.name) {
		g.certificates.unshare(l)
	} else {
		g.share(l)
	}
}

// borrow notes that l has the certificate of another name.
func (g *gateway) share(l *sniSecret) {
	c := &g.certificates
	if l.shared == nil {
		l.shared = c.shared.PushBack(l)
	}
	for c.shared.Len() > maxShared {
		oldest := c.shared.Front().Value.(*sniSecret)
		c.unshare(oldest)
		oldest.evicted, oldest.source, oldest.served = true, nil, nil
		g.setResource(kindSecret, oldest.resource.name, nil)
	}
}

func (c *certificates) unshare(l *sniSecret) {
	if l.shared != nil {
		c.shared.Remove(l.shared)
		l.shared = nil
	}
}

// acceptedSecret notes that an Envoy took the newest version of a secret.
func (g *gateway) secretACKed(r *resource) {
	if l, ok := g.certificates.requested[r]; ok && l.source != nil && l.served != nil {
		l.source.lastGood = l.served
	}
}

// blameSecret goes back to the last good certificate of where a refused one came
// from, or to what is served without it.
func (g *gateway) rejectSecret(r *resource, detail string) {
	if p, ok := g.chains.pairs[r.name]; ok {
		g.rejectPair(p, detail)
		return
	}
	l, ok := g.certificates.requested[r]
	if !ok {
		if r.lastGood != nil { // authorities of clients
			g.setResource(kindSecret, r.name, r.lastGood)
		}
		return
	}
	if l.source == nil || l.served != l.source.newest {
		return
	}
	from := l.source
	from.refused = true
	for name, s := range g.certificates.published {
		if s == from {
			g.server.notifier.certificateRejected(route.Key{Gateway: g.name, Host: name}, detail)
			g.certificateChanged(name)
			g.updateSecrets(name)
			g.renderHTTP3Soon()
			return
		}
	}
	g.server.notifier.certificateRejected(route.Key{Host: route.AnyHost}, detail)
	for _, g := range g.server.gateways {
		g.updateSecrets(route.AnyHost)
		g.renderHTTP3Soon()
	}
}
