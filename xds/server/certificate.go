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
const maxBorrowed = 2000

// slot is where a certificate is published: a name, a wildcard, or the default.
type slot struct {
	newest *route.Certificate // nil: withdrawn
	good   *route.Certificate // newest that an Envoy accepted
	// refused says that no Envoy takes newest.
	refused bool
}

// usable is what is served from the slot, nil for nothing.
func (s *slot) usable() *route.Certificate {
	switch {
	case s == nil || s.newest == nil:
		return nil
	case s.refused:
		return s.good
	}
	return s.newest
}

// look is what is known of a name that some Envoy asks for.
type look struct {
	resource *resource
	name     route.Hostname // as we spell it
	from     *slot          // nil: nothing is served
	served   *route.Certificate
	borrowed *list.Element // in certificates.borrowed, nil if the name has one of its own
	evicted  bool          // until it is asked for again
	// listed says that a listener names it, so that it is served from the slot of
	// that very name alone.
	listed bool
}

func newLook(r *resource) *look {
	if name, ok := envoy.ListedName(r.name); ok {
		return &look{resource: r, name: name, listed: true}
	}
	return &look{resource: r, name: serverName(r.name)}
}

// certificates are those of one gateway, and who asks for them.
type certificates struct {
	slots    map[route.Hostname]*slot
	looks    map[*resource]*look
	named    map[route.Hostname]map[*look]struct{} // by name, and by the wildcard that covers it
	borrowed *list.List                            // of *look, oldest first
}

func newCertificates() certificates {
	return certificates{
		slots:    make(map[route.Hostname]*slot),
		looks:    make(map[*resource]*look),
		named:    make(map[route.Hostname]map[*look]struct{}),
		borrowed: list.New(),
	}
}

// PublishCertificate makes certificate what is served under a server name of a
// gateway: a full name, a wildcard, or route.AnyHost for clients that send no
// name and for hosts that have no certificate. nil withdraws it. Without a
// gateway it is the default of all gateways, for where they have none.
func (s *Server) PublishCertificate(key route.Key, certificate *route.Certificate) {
	s.do(func() {
		if key.Gateway == "" {
			if s.fallback.put(certificate) {
				s.notes.certificateRejected(key, "")
			}
			for _, g := range s.gateways {
				g.lookAgain(route.AnyHost)
				g.listenSoon()
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
func (s *slot) put(certificate *route.Certificate) (mended bool) {
	if s.newest.Equal(certificate) {
		return false
	}
	mended = s.refused
	s.newest, s.refused = certificate, false
	return mended
}

func (g *gateway) publishCertificate(name route.Hostname, certificate *route.Certificate) {
	all := g.certificates.slots
	if all[name] == nil {
		if certificate == nil {
			return
		}
		all[name] = &slot{}
	}
	if all[name].put(certificate) {
		g.server.notes.certificateRejected(route.Key{Gateway: g.name, Host: name}, "")
	}
	if certificate == nil {
		shrink.Delete(&g.certificates.slots, name)
	}
	g.recertified(name)
	g.lookAgain(name)
	g.listenSoon()
}

// slotOf is the slot of a name itself; nil: there is none.
func (g *gateway) slotOf(name route.Hostname) *slot {
	if from := g.certificates.slots[name]; from.usable() != nil {
		return from
	}
	if name == route.AnyHost && g.server.fallback.usable() != nil {
		return &g.server.fallback
	}
	return nil
}

// lookUp is the slot whose certificate is shown under a name, and whether it is the
// name's own. nil: none is shown.
func (g *gateway) lookUp(name route.Hostname) (from *slot, own bool) {
	owner, ok := g.serverNames.Certificate(name)
	if !ok {
		return nil, false
	}
	if from := g.certificates.slots[owner]; from.usable() != nil {
		return from, owner == name
	}
	return &g.server.fallback, owner == name
}

// askedFor notes that an Envoy asks for a name, which is looked up now.
func (g *gateway) askedFor(r *resource) {
	if body, ours := g.provided(r.name); ours {
		g.set(kindSecret, r.name, body)
		return
	}
	if envoy.IsAuthorityName(r.name) {
		return // there as long as a cluster names it
	}
	c := &g.certificates
	l, ok := c.looks[r]
	if !ok {
		l = newLook(r)
		c.looks[r] = l
		for _, name := range l.names() {
			if c.named[name] == nil {
				c.named[name] = make(map[*look]struct{})
			}
			c.named[name][l] = struct{}{}
		}
	}
	l.evicted = false
	g.look(l)
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
func (l *look) names() []route.Hostname {
	if wildcard, ok := l.name.Wildcard(); ok && !l.listed {
		return []route.Hostname{l.name, wildcard}
	}
	return []route.Hostname{l.name}
}

// left notes that no Envoy asks for a name any more.
func (g *gateway) left(r *resource) {
	c := &g.certificates
	l, ok := c.looks[r]
	if !ok {
		return
	}
	shrink.Delete(&c.looks, r)
	for _, name := range l.names() {
		delete(c.named[name], l)
		if len(c.named[name]) == 0 {
			shrink.Delete(&c.named, name)
		}
	}
	c.returned(l)
}

// lookAgain looks up all names whose certificate may be another one, now that
// the certificate or the host of that name has changed.
func (g *gateway) lookAgain(name route.Hostname) {
	g.proveAgain(name)
	if name == route.AnyHost {
		for _, l := range g.certificates.looks {
			g.look(l)
		}
		return
	}
	for l := range g.certificates.named[name] {
		g.look(l)
	}
}

// look makes the resource of l what is served under its name now.
func (g *gateway) look(l *look) {
	if l.evicted {
		return
	}
	from, own := g.lookUp(l.name)
	if l.listed {
		from, own = g.slotOf(l.name), true
	}
	l.from, l.served = from, from.usable()
	if l.served == nil && l.listed && l.resource.exists() {
		return // until the listener names it no more
	}
	if l.served == nil {
		g.certificates.returned(l)
		g.set(kindSecret, l.resource.name, nil)
		return
	}
	g.set(kindSecret, l.resource.name, envoy.Secret(l.resource.name, l.served.Chain, l.served.Key.Reveal()).Body)
	if own || g.isProofPoint(l.name) {
		g.certificates.returned(l)
	} else {
		g.borrow(l)
	}
}

// borrow notes that l has the certificate of another name.
func (g *gateway) borrow(l *look) {
	c := &g.certificates
	if l.borrowed == nil {
		l.borrowed = c.borrowed.PushBack(l)
	}
	for c.borrowed.Len() > maxBorrowed {
		oldest := c.borrowed.Front().Value.(*look)
		c.returned(oldest)
		oldest.evicted, oldest.from, oldest.served = true, nil, nil
		g.set(kindSecret, oldest.resource.name, nil)
	}
}

func (c *certificates) returned(l *look) {
	if l.borrowed != nil {
		c.borrowed.Remove(l.borrowed)
		l.borrowed = nil
	}
}

// acceptedSecret notes that an Envoy took the newest version of a secret.
func (g *gateway) acceptedSecret(r *resource) {
	if l, ok := g.certificates.looks[r]; ok && l.from != nil && l.served != nil {
		l.from.good = l.served
	}
}

// blameSecret goes back to the last good certificate of where a refused one came
// from, or to what is served without it.
func (g *gateway) blameSecret(r *resource, detail string) {
	if p, ok := g.chains.pairs[r.name]; ok {
		g.blamePair(p, detail)
		return
	}
	l, ok := g.certificates.looks[r]
	if !ok {
		if r.good != nil { // authorities of clients
			g.set(kindSecret, r.name, r.good)
		}
		return
	}
	if l.from == nil || l.served != l.from.newest {
		return
	}
	from := l.from
	from.refused = true
	for name, s := range g.certificates.slots {
		if s == from {
			g.server.notes.certificateRejected(route.Key{Gateway: g.name, Host: name}, detail)
			g.recertified(name)
			g.lookAgain(name)
			g.listenSoon()
			return
		}
	}
	g.server.notes.certificateRejected(route.Key{Host: route.AnyHost}, detail)
	for _, g := range g.server.gateways {
		g.lookAgain(route.AnyHost)
		g.listenSoon()
	}
}
