package server

import (
	"container/list"
	"strings"
	"time"

	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/route"
)

// duty is a name whose certificate a prover has to show.
type duty struct {
	name        route.Hostname
	certificate *route.Certificate
	// since is when the certificate was published, zero if that was before the
	// prover came: then nobody waits for it.
	since time.Time

	proved     *route.Certificate // seen last
	impossible bool               // the prover has no way to see it
	queued     *list.Element
	busy       bool // it is under way
	retry      *time.Timer
	failures   int
	failing    time.Time // since when, zero if it does not
	detail     string    // what was seen instead
	told       bool      // the observer knows that it is failing

	waiting map[route.Key]struct{} // hosts that are served when this is proved
}

// isProved reports whether nothing is to be waited for.
func (d *duty) isProved() bool { return d.impossible || d.proved.Equal(d.certificate) }

// proveAll has p prove all names of the gateway, as if all of it had been there
// for long.
func (g *gateway) proveAll(p *prover) {
	names := map[route.Hostname]struct{}{route.AnyHost: {}}
	for name := range g.certificates.slots {
		names[name] = struct{}{}
	}
	for name := range p.duties {
		names[name] = struct{}{}
	}
	for name := range names {
		p.want(name, g.certificateToProve(name), time.Time{})
	}
}

// proveAgain has what is served under a name proved, now that it may have
// changed.
func (g *gateway) proveAgain(name route.Hostname) {
	for p := range g.provers {
		p.want(name, g.certificateToProve(name), g.server.now())
	}
}

// proveOtherwise has everything looked at again, after a change of settings.
func (g *gateway) proveOtherwise() {
	for p := range g.provers {
		g.proveAll(p)
		for _, d := range p.duties {
			if d.impossible {
				d.impossible = false
				p.enqueue(d, false)
			}
		}
	}
}

// certificateToProve is what clients get under a name, a wildcard, or without a
// name, from a certificate of its own; nil: nothing of the kind.
func (g *gateway) certificateToProve(name route.Hostname) *route.Certificate {
	if g.settings.HTTPSPort == 0 || !g.handshakes(name) {
		return nil
	}
	if name == route.AnyHost {
		from, _ := g.lookUp(name)
		return from.usable()
	}
	return g.certificates.slots[name].usable()
}

// want makes certificate what p has to show under name; nil: nothing. What is
// new comes first.
func (p *prover) want(name route.Hostname, certificate *route.Certificate, since time.Time) {
	d := p.duties[name]
	switch {
	case certificate == nil && d == nil, d != nil && d.certificate.Equal(certificate):
		return
	case certificate == nil:
		p.drop(d)
		delete(p.duties, name)
		p.removed = append(p.removed, string(name))
		p.poke()
		return
	case d == nil:
		d = &duty{name: name}
		p.duties[name] = d
	}
	d.certificate, d.since = certificate, since
	p.settle(d)
	d.impossible = false
	if d.isProved() {
		return // it is back to what it was
	}
	p.enqueue(d, !since.IsZero())
}

// enqueue has d sent, before all others or after them. One that is under way
// comes when it is answered.
func (p *prover) enqueue(d *duty, first bool) {
	if d.busy {
		return
	}
	p.dequeue(d)
	if first {
		d.queued = p.queue.PushFront(d)
	} else {
		d.queued = p.queue.PushBack(d)
	}
	p.poke()
}

func (p *prover) dequeue(d *duty) {
	if d.queued != nil {
		p.queue.Remove(d.queued)
		d.queued = nil
	}
}

// drop lets go of all that d holds.
func (p *prover) drop(d *duty) {
	p.dequeue(d)
	p.settle(d)
}

// settle ends what was said of the certificate that d had until now: its
// failure, and who waits for it.
func (p *prover) settle(d *duty) {
	if d.retry != nil {
		d.retry.Stop()
		d.retry = nil
	}
	d.failures, d.failing, d.detail = 0, time.Time{}, ""
	if d.told {
		d.told = false
		p.gateway.tellUnproved(d.name)
	}
	p.release(d)
}

// shown notes that clients get certificate.
func (p *prover) shown(d *duty, certificate *route.Certificate) {
	d.proved = certificate
	if !d.isProved() {
		return
	}
	if !d.since.IsZero() {
		p.gateway.server.metrics.proofSeconds.Observe(p.gateway.server.now().Sub(d.since).Seconds())
	}
	p.settle(d)
}

// failed notes that clients do not get what they should, and asks again later.
func (p *prover) failed(d *duty, detail string) {
	s := p.gateway.server
	s.metrics.proofs.WithLabelValues("failed").Inc()
	if len(detail) > maxDetail {
		detail = strings.ToValidUTF8(detail[:maxDetail], "") + "…"
	}
	now := s.now()
	if d.failing.IsZero() {
		d.failing = now
	}
	d.detail = detail
	if now.Sub(d.failing) >= s.options.ProofPatience && !d.told {
		d.told = true
		p.gateway.tellUnproved(d.name)
	}
	wait := min(firstProof<<min(d.failures, 10), lastProof)
	d.failures++
	d.retry = s.after(wait, func() {
		if !p.gone && p.duties[d.name] == d && d.retry != nil {
			d.retry = nil
			p.enqueue(d, false)
		}
	})
}

// tellUnproved tells the observer of a name what some gateway shows instead of
// its certificate, or that all is well.
func (g *gateway) tellUnproved(name route.Hostname) {
	detail := ""
	for p := range g.provers {
		if d := p.duties[name]; d != nil && d.told {
			detail = "gateway " + p.node + ": " + d.detail
		}
	}
	g.server.notes.certificateUnproved(route.Key{Gateway: g.name, Host: name}, detail)
	g.server.notes.envoysChanged(g.name)
}

// unproved counts what a prover could not show for a while.
func (p *prover) unproved() int {
	n := 0
	for _, d := range p.duties {
		if d.told {
			n++
		}
	}
	return n
}

// awaited reports whether the certificate of a host was published a moment ago
// and some prover has yet to see it; key is told when that is over.
func (g *gateway) awaited(key route.Key) bool {
	name := key.Host
	if g.certificates.slots[name].usable() == nil {
		wildcard, covered := name.Wildcard()
		if !covered {
			return false
		}
		name = wildcard
	}
	if name == route.AnyHost {
		return false // who has no certificate of their own has waited for none
	}
	now, patience := g.server.now(), g.server.options.ProofPatience
	found := false
	for p := range g.provers {
		d := p.duties[name]
		if d == nil || d.isProved() || d.since.IsZero() || now.Sub(d.since) >= patience {
			continue
		}
		found = true
		if d.waiting == nil {
			d.waiting = make(map[route.Key]struct{})
			certificate := d.certificate
			g.server.after(d.since.Add(patience).Sub(now), func() {
				if d.certificate == certificate {
					p.release(d)
				}
			})
		}
		d.waiting[key] = struct{}{}
	}
	return found
}

// release tells hosts that they wait for d no more.
func (p *prover) release(d *duty) {
	waiting := d.waiting
	d.waiting = nil
	for key := range waiting {
		if h, ok := p.gateway.hosts[key.Host]; ok && h.wanted != nil && h.told == h.wanted {
			p.gateway.server.notes.served(key)
		}
	}
}

// proofs counts what provers have shown, and what not, by state.
func (s *Server) proofs() (proved, waiting, failing, impossible int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.gateways {
		for p := range g.provers {
			for _, d := range p.duties {
				switch {
				case d.impossible:
					impossible++
				case d.isProved():
					proved++
				case d.told:
					failing++
				default:
					waiting++
				}
			}
		}
	}
	return proved, waiting, failing, impossible
}

// isProofPoint reports whether a name is only there to prove a wildcard: Envoy may
// keep it.
func (g *gateway) isProofPoint(name route.Hostname) bool {
	wildcard, covered := name.Wildcard()
	return covered && g.certificates.slots[wildcard] != nil && proof.NameOf(string(wildcard)) == string(name)
}
