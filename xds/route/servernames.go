package route

import (
	"iter"
	"maps"
	"strings"

	"github.com/fairwaynet/fairway/api/shrink"
)

// ServerNames are the server names (SNI) of one gateway: what is published under
// each of them, and which certificate and which filter chain a client gets for it.
//
// It is brought up to date name by name. A change of one name costs the work of that
// name, and of the names that it covers only if they inherit something else from it.
// Its invariant: it depends on what is published alone, not on the order in which
// that came. It is not safe for concurrent use. Use NewServerNames.
type ServerNames struct {
	published map[Hostname]publishedName

	// overrides are the names whose chain is another than that of what covers them:
	// a wildcard, or AnyHost. AnyHost itself is one unless its chain is the zero Chain.
	overrides map[Hostname]Chain
	uses      map[Chain]int // how many overrides have it
	// inherited is what published wildcards, and AnyHost, pass on to the names that
	// they cover.
	inherited map[Hostname]chainInputs
	// below are the published names by the wildcard that covers them.
	below map[Hostname]map[Hostname]struct{}
}

// publishedName is what is published under one name.
type publishedName struct {
	host        *Host
	certificate *Certificate
}

// NewServerNames is a table in which nothing is published.
func NewServerNames() *ServerNames {
	return &ServerNames{
		published: make(map[Hostname]publishedName),
		overrides: make(map[Hostname]Chain),
		uses:      make(map[Chain]int),
		inherited: make(map[Hostname]chainInputs),
		below:     make(map[Hostname]map[Hostname]struct{}),
	}
}

// SetHost makes host what serves requests for a name; nil: nothing does. It returns
// the names whose override is another now, or that have one no more or for the first
// time.
func (n *ServerNames) SetHost(name Hostname, host *Host) (overrides []Hostname) {
	p := n.published[name]
	p.host = host
	return n.set(name, p)
}

// SetCertificate makes certificate what can be shown under a name; nil: nothing can.
// It returns what SetHost returns.
func (n *ServerNames) SetCertificate(name Hostname, certificate *Certificate) (overrides []Hostname) {
	p := n.published[name]
	p.certificate = certificate
	return n.set(name, p)
}

// Answers reports whether any host answers requests for a name.
func (n *ServerNames) Answers(name Hostname) bool { return n.hostFor(name).Answers() }

// Certificate returns the name whose certificate a client is shown that asks for a
// name; see CertificateFor. Under AnyHost nothing may be published.
func (n *ServerNames) Certificate(name Hostname) (owner Hostname, ok bool) {
	return CertificateFor(name, n.hasCertificate, func() bool { return n.Answers(name) })
}

// Chain returns the filter chain of the connections that ask for a name.
func (n *ServerNames) Chain(name Hostname) Chain { return n.inputs(name).chain() }

// Overrides are the names that need an entry of their own in a listener, and their
// chains. Every other name has the chain of the wildcard that covers it, or else that
// of AnyHost. The map must not be changed.
func (n *ServerNames) Overrides() map[Hostname]Chain { return n.overrides }

// Chains are the chains of the overrides, each once, in any order.
func (n *ServerNames) Chains() iter.Seq[Chain] { return maps.Keys(n.uses) }

// Uses reports whether a chain is one of Chains.
func (n *ServerNames) Uses(c Chain) bool { return n.uses[c] > 0 }

// CoveredBy returns the published names that can inherit from a wildcard, or from
// AnyHost; none for any other name.
func (n *ServerNames) CoveredBy(name Hostname) []Hostname {
	var names []Hostname
	if name != AnyHost {
		for other := range n.below[name] {
			names = append(names, other)
		}
		return names
	}
	for other := range n.published {
		if other != AnyHost {
			names = append(names, other)
		}
	}
	return names
}

func (n *ServerNames) set(name Hostname, p publishedName) (overrides []Hostname) {
	if p == (publishedName{}) {
		shrink.Delete(&n.published, name)
	} else {
		n.published[name] = p
	}
	update := func(name Hostname) {
		if n.updateOverride(name) {
			overrides = append(overrides, name)
		}
	}
	update(name)
	if !n.updateInherited(name) {
		return overrides
	}
	for _, other := range n.CoveredBy(name) {
		update(other)
		n.updateInherited(other)
	}
	return overrides
}

// updateOverride derives whether a name has a chain of its own, and which. It reports
// whether that is another than before.
func (n *ServerNames) updateOverride(name Hostname) (changed bool) {
	_, known := n.published[name]
	n.updateBelow(name, known)
	var chain, inherited Chain
	if known {
		chain = n.Chain(name)
	}
	if known && name != AnyHost {
		inherited = n.Chain(coverOf(name))
	}
	return n.override(name, chain, chain != inherited)
}

// override makes chain that of a name, if it is one of its own. It reports whether
// that changes anything.
func (n *ServerNames) override(name Hostname, chain Chain, own bool) (changed bool) {
	before, had := n.overrides[name]
	if had == own && (!own || before == chain) {
		return false
	}
	if had {
		if n.uses[before]--; n.uses[before] == 0 {
			delete(n.uses, before)
		}
		delete(n.overrides, name)
	}
	if own {
		n.overrides[name] = chain
		n.uses[chain]++
	}
	return true
}

// updateInherited derives what a name passes on to those that it covers. It reports
// whether that is another than before.
func (n *ServerNames) updateInherited(name Hostname) (changed bool) {
	if !strings.HasPrefix(string(name), "*") {
		return false
	}
	before, known := n.inherited[name]
	if !known {
		before = n.inherited[AnyHost]
	}
	now := n.inputs(name)
	if _, known := n.published[name]; known {
		n.inherited[name] = now
	} else {
		delete(n.inherited, name)
	}
	return now != before
}

// updateBelow keeps the index of the names that a wildcard covers.
func (n *ServerNames) updateBelow(name Hostname, known bool) {
	wildcard, ok := name.Wildcard()
	names := n.below[wildcard]
	switch {
	case !ok:
	case !known:
		delete(names, name)
		if len(names) == 0 {
			delete(n.below, wildcard)
		} else {
			n.below[wildcard] = names
		}
	case names == nil:
		n.below[wildcard] = map[Hostname]struct{}{name: {}}
	default:
		names[name] = struct{}{}
	}
}

func (n *ServerNames) inputs(name Hostname) chainInputs {
	owner, _ := n.Certificate(name)
	return chainInputsOf(n.hostFor(name), pairOf(owner, n.published[owner].certificate))
}

func (n *ServerNames) hostFor(name Hostname) *Host {
	return HostFor(name, func(candidate Hostname) *Host { return n.published[candidate].host })
}

func (n *ServerNames) hasCertificate(name Hostname) bool { return n.published[name].certificate != nil }

// coverOf is the wildcard that covers a name, or AnyHost.
func coverOf(name Hostname) Hostname {
	if wildcard, ok := name.Wildcard(); ok {
		return wildcard
	}
	return AnyHost
}
