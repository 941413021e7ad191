package server

import (
	"container/list"
	"strings"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// Envoy asks for a certificate when a handshake needs one, by the server name that the
// client sent, and expects it under that very name. So such a secret exists only while
// an Envoy asks for it. Its certificate is chosen when the Envoy asks, and again when a
// certificate changes that the name could have.

// maxShared bounds how many names an Envoy can have at once with the certificate of a
// wildcard or with the default one: clients can invent such names, and Envoy keeps every
// secret that it has. Beyond the bound the name that was asked for first is removed. The
// next client with that name waits for one more exchange with the server.
const maxShared = 2000

// sniSecret is a secret that some Envoy asks for by server name.
type sniSecret struct {
	resource *resource
	name     route.Hostname        // in our spelling
	source   *publishedCertificate // of served; nil: clients get none
	served   *route.Certificate
	shared   *list.Element // in certificates.shared; nil: the certificate is the name's own
	evicted  bool          // it was removed, until an Envoy asks again
	// listed says that the listener of HTTP/3 names it. Then only the certificate of
	// that very name is served.
	listed bool
}

func newSNISecret(r *resource) *sniSecret {
	if name, ok := envoy.ListedName(r.name); ok {
		return &sniSecret{resource: r, name: name, listed: true}
	}
	return &sniSecret{resource: r, name: serverName(r.name)}
}

// serverName is the one spelling of a name that a client sent.
func serverName(sent string) route.Hostname {
	if sent == envoy.NoServerName {
		return route.AnyHost
	}
	name := strings.TrimSuffix(strings.ToLower(sent), ".")
	if strings.HasPrefix(name, "*") {
		return "" // no client connects under a wildcard itself
	}
	return route.Hostname(name)
}

// names are the names whose certificate or host decides about the secret.
func (secret *sniSecret) names() []route.Hostname {
	if wildcard, ok := secret.name.Wildcard(); ok && !secret.listed {
		return []route.Hostname{secret.name, wildcard}
	}
	return []route.Hostname{secret.name}
}

// secretSubscribed chooses the content of a secret that an Envoy subscribes to.
func (g *gateway) secretSubscribed(r *resource) {
	if body, ours := g.chainSecret(r.name); ours {
		g.setResource(kindSecret, r.name, body)
		return
	}
	if envoy.IsAuthorityName(r.name) {
		return // it exists as long as a cluster names it
	}
	c := &g.certificates
	secret, ok := c.requested[r]
	if !ok {
		secret = newSNISecret(r)
		c.requested[r] = secret
		for _, name := range secret.names() {
			if c.byName[name] == nil {
				c.byName[name] = make(map[*sniSecret]struct{})
			}
			c.byName[name][secret] = struct{}{}
		}
	}
	secret.evicted = false
	g.updateSecret(secret)
}

// secretUnsubscribed notes that no Envoy subscribes to a secret any more.
func (g *gateway) secretUnsubscribed(r *resource) {
	c := &g.certificates
	secret, ok := c.requested[r]
	if !ok {
		return
	}
	shrink.Delete(&c.requested, r)
	for _, name := range secret.names() {
		delete(c.byName[name], secret)
		if len(c.byName[name]) == 0 {
			shrink.Delete(&c.byName, name)
		}
	}
	c.unshare(secret)
}

// updateSecrets updates all secrets whose certificate may be another one, after the
// certificate or the host of a name changed.
func (g *gateway) updateSecrets(name route.Hostname) {
	g.verifyName(name)
	if name == route.AnyHost {
		for _, secret := range g.certificates.requested {
			g.updateSecret(secret)
		}
		return
	}
	for secret := range g.certificates.byName[name] {
		g.updateSecret(secret)
	}
}

// updateSecret makes the resource of l the certificate that clients get under its name
// now.
func (g *gateway) updateSecret(secret *sniSecret) {
	if secret.evicted {
		return
	}
	from, own := g.certificateFor(secret.name)
	if secret.listed {
		from, own = g.certificateOf(secret.name), true
	}
	secret.source, secret.served = from, from.usable()
	if secret.served == nil && secret.listed && secret.resource.exists() {
		return // it stays until the listener names it no more
	}
	if secret.served == nil {
		g.certificates.unshare(secret)
		g.setResource(kindSecret, secret.resource.name, nil)
		return
	}
	g.setResource(kindSecret, secret.resource.name, envoy.Secret(secret.resource.name, secret.served.Chain, secret.served.Key.Reveal()).Body)
	if own || g.isProofName(secret.name) {
		g.certificates.unshare(secret)
	} else {
		g.share(secret)
	}
}

// share notes that l has the certificate of another name.
func (g *gateway) share(secret *sniSecret) {
	c := &g.certificates
	if secret.shared == nil {
		secret.shared = c.shared.PushBack(secret)
	}
	for c.shared.Len() > maxShared {
		oldest := c.shared.Front().Value.(*sniSecret)
		c.unshare(oldest)
		oldest.evicted, oldest.source, oldest.served = true, nil, nil
		g.setResource(kindSecret, oldest.resource.name, nil)
	}
}

// unshare notes that l has a certificate of its own, or none.
func (c *certificates) unshare(secret *sniSecret) {
	if secret.shared != nil {
		c.shared.Remove(secret.shared)
		secret.shared = nil
	}
}

// secretACKed notes that an Envoy accepted the newest version of a secret.
func (g *gateway) secretACKed(r *resource) {
	if secret, ok := g.certificates.requested[r]; ok && secret.source != nil && secret.served != nil {
		secret.source.lastGood = secret.served
	}
}

// rejectSecret goes back to the last good certificate in place of a refused one, or to
// the certificate that is served without it.
func (g *gateway) rejectSecret(r *resource, detail string) {
	if p, ok := g.chains.pairs[r.name]; ok {
		g.rejectPair(p, detail)
		return
	}
	secret, ok := g.certificates.requested[r]
	if !ok {
		if r.lastGood != nil { // authorities of clients
			g.setResource(kindSecret, r.name, r.lastGood)
		}
		return
	}
	if secret.source == nil || secret.served != secret.source.newest {
		return
	}
	from := secret.source
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
