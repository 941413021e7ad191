package route

import "strings"

// The server name (SNI) that a client sends decides two things before anything is
// known of a request: which certificate the client is shown, and which filter chain
// takes the connection. The two rules are here, for one name. ServerNames applies
// them to all names of a gateway.

// HostFor returns the host that serves requests for a name: the first that find knows
// of the host of that very name, that of the wildcard which covers it, and the default
// host. It is nil if there is none.
func HostFor(name Hostname, find func(Hostname) *Host) *Host {
	if host := find(name); host != nil {
		return host
	}
	if label, parent, found := strings.Cut(string(name), "."); found && label != "" && parent != "" {
		if host := find(Hostname("*." + parent)); host != nil {
			return host
		}
	}
	return find(AnyHost)
}

// HostsFor are the hosts that can serve a request for a host, in the order in which
// HostFor looks for them.
func HostsFor(host Hostname) []Hostname {
	var hosts []Hostname
	HostFor(host, func(candidate Hostname) *Host {
		hosts = append(hosts, candidate)
		return nil
	})
	return hosts
}

// Answers reports whether the host answers requests at all. Every gateway has a
// default host; without routes it answers none. A nil host answers none either.
func (h *Host) Answers() bool {
	return h != nil && (h.Key.Host != AnyHost || len(h.Routes) > 0)
}

// CertificateFor returns the name whose certificate a client is shown that asks for
// a server name, or that asks for none (AnyHost):
//
//  1. the name's own certificate,
//  2. that of the wildcard which covers the name,
//  3. the default one (AnyHost), if a host answers requests for the name.
//
// has says whether a certificate can be shown that is published under a name. It is
// asked about the name and its wildcard only: the default certificate of a gateway
// may be that of all gateways. With ok false the client is shown none, and the
// handshake fails.
func CertificateFor(name Hostname, has func(Hostname) bool, answers func() bool) (owner Hostname, ok bool) {
	if has(name) {
		return name, true
	}
	if wildcard, covered := name.Wildcard(); covered && has(wildcard) {
		return wildcard, true
	}
	return AnyHost, name == AnyHost || answers()
}

// ChainFor returns the filter chain of the connections that ask for a server name.
// host serves requests for the name; nil: none does. pair is the name or wildcard
// whose two certificates are shown; empty: one certificate is shown, or none.
func ChainFor(host *Host, pair Hostname) Chain { return chainInputsOf(host, pair).chain() }

// pairOf is owner if it is a name or a wildcard with two certificates. The default
// certificate is never a pair: Envoy chooses it at the handshake like all others.
func pairOf(owner Hostname, certificate *Certificate) Hostname {
	if owner == AnyHost || certificate == nil || certificate.Other == nil {
		return ""
	}
	return owner
}

// chainInputs are what a Chain follows from. They say more than the Chain does: a
// name inherits each of them from the wildcard that covers it, also one that does not
// show in the wildcard's own Chain.
type chainInputs struct {
	client      ClientPolicy
	passthrough Cluster // the zero Cluster: TLS ends at the gateway
	pair        Hostname
}

func chainInputsOf(host *Host, pair Hostname) chainInputs {
	inputs := chainInputs{pair: pair}
	if host == nil {
		return inputs
	}
	if host.Client != nil {
		inputs.client = *host.Client
	}
	if host.Passthrough != nil {
		inputs.passthrough = *host.Passthrough
	}
	return inputs
}

func (i chainInputs) chain() Chain {
	if c := (Chain{Passthrough: i.passthrough}); c.IsPassthrough() {
		return c
	}
	return Chain{Client: i.client, Pair: i.pair}
}
