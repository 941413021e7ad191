package server

import (
	"time"

	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/proof/verifier"
	"github.com/fairwaynet/fairway/xds/route"
)

// An ACK says that an Envoy has accepted a certificate, not that clients get it. The
// gateway's process looks at that, and package verifier keeps the results. This file
// says which certificates clients should get, and acts on the results.

// newVerifier is the verifier of a gateway. Server.mu guards all of its calls.
func (g *gateway) newVerifier() *verifier.Verifier {
	return verifier.New(verifier.Config{
		Patience: g.server.options.ProofTimeout, Now: g.server.now, After: g.server.after, Events: proofEvents{g},
	})
}

// verifyName has the certificate of a name verified, after something changed that
// decides about it.
func (g *gateway) verifyName(name route.Hostname) {
	if g.verifier.HasSessions() {
		g.verifier.Publish(name, g.certificateToVerify(name))
	}
}

// verifyAll has all certificates verified again, after a change of settings.
func (g *gateway) verifyAll() {
	g.verifier.Configure(g.settings.ProxyProtocol, g.certificatesToVerify())
}

// certificatesToVerify are all certificates that clients of the gateway should get.
func (g *gateway) certificatesToVerify() verifier.Certificates {
	wanted := make(verifier.Certificates)
	put := func(name route.Hostname) {
		if certificate := g.certificateToVerify(name); certificate != nil {
			wanted[name] = certificate
		}
	}
	put(route.AnyHost)
	for name := range g.certificates.published {
		put(name)
	}
	return wanted
}

// certificateToVerify is the certificate of a name, a wildcard, or the default one, that
// clients should get; nil: none.
func (g *gateway) certificateToVerify(name route.Hostname) *route.Certificate {
	if g.settings.HTTPSPort == 0 || !g.terminatesTLS(name) {
		return nil
	}
	if name == route.AnyHost {
		from, _ := g.certificateFor(name)
		return from.usable()
	}
	return g.certificates.published[name].usable()
}

// awaitsProof reports whether a prover has yet to see the certificate of a host, which
// was published a moment ago. The observer is told when that is over.
func (g *gateway) awaitsProof(host route.Hostname) bool {
	owner, ok := g.serverNames.Certificate(host)
	if !ok || owner == route.AnyHost { // a host without a certificate of its own waits for none
		return false
	}
	return g.verifier.Wait(owner, host)
}

// isProofName reports whether a name exists only to verify a wildcard. Envoy may keep
// its secret.
func (g *gateway) isProofName(name route.Hostname) bool {
	wildcard, covered := name.Wildcard()
	return covered && g.certificates.published[wildcard] != nil && proof.NameOf(string(wildcard)) == string(name)
}

// proofEvents implements verifier.Events.
type proofEvents struct{ gateway *gateway }

// NotServed implements verifier.Events.
func (e proofEvents) NotServed(name route.Hostname, detail string) {
	notes := e.gateway.server.notifier
	notes.certificateNotServed(route.Key{Gateway: e.gateway.name, Host: name}, detail)
	notes.envoysChanged(e.gateway.name)
}

// WaitOver implements verifier.Events.
func (e proofEvents) WaitOver(host route.Hostname) {
	if h, ok := e.gateway.hosts[host]; ok && h.wanted != nil && h.reported == h.wanted {
		e.gateway.server.notifier.hostServed(h.key)
	}
}

// Answered implements verifier.Events.
func (e proofEvents) Answered(proved bool) {
	result := "failed"
	if proved {
		result = "proved"
	}
	e.gateway.server.metrics.proofs.WithLabelValues(result).Inc()
}

// Served implements verifier.Events.
func (e proofEvents) Served(after time.Duration) {
	e.gateway.server.metrics.proofSeconds.Observe(after.Seconds())
}

// FailedProofs counts, by gateway, the certificates that a gateway's process does not
// see its Envoy serve (Observer.CertificateNotServed).
func (s *Server) FailedProofs() map[route.Gateway]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[route.Gateway]int{}
	for _, g := range s.gateways {
		if g.verifier.HasSessions() {
			counts[g.name] = g.verifier.Failing()
		}
	}
	return counts
}

// proofs counts the certificates of all gateways by the state of their proof.
func (s *Server) proofs() verifier.States {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all verifier.States
	for _, g := range s.gateways {
		states := g.verifier.Count()
		all.Proved += states.Proved
		all.Waiting += states.Waiting
		all.Failing += states.Failing
		all.Impossible += states.Impossible
	}
	return all
}
