package service

import (
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
)

// lasting says whether connections of a protocol go on without anybody's asking whether the
// other end is still there: a datagram's sender is not told, and the heartbeats of SCTP keep
// an association known that is dead.
func lasting(protocol uint8) bool {
	return protocol == unix.IPPROTO_UDP || protocol == unix.IPPROTO_SCTP
}

// fronts returns the lasting fronts, and who serves them.
func (s *Service) fronts() map[FrontKey][]netip.AddrPort {
	all := map[FrontKey][]netip.AddrPort{}
	if s == nil {
		return all
	}
	for _, p := range s.Ports {
		if !lasting(p.Protocol) {
			continue
		}
		for _, f := range p.Fronts {
			all[p.key(f)] = p.Serving
		}
	}
	return all
}

// Stale returns the connections of datagrams that a change of a Service from before to after
// leaves with somebody who no longer serves them; nil is a Service that does not exist. node
// are the addresses at which node ports answer. Delete them after the change is in the kernel.
func Stale(before, after *Service, node []netip.Addr) []conntrack.Match {
	var all []conntrack.Match
	had, has := before.fronts(), after.fronts()
	for key, endpoints := range had {
		now := has[key]
		for _, to := range key.addresses(node) {
			all = append(all, key.left(to, endpoints, now)...)
		}
	}
	for key, endpoints := range has {
		if before, existed := had[key]; existed && len(before) > 0 || len(endpoints) == 0 {
			continue
		}
		// What was sent there before went elsewhere, or nowhere.
		for _, to := range key.addresses(node) {
			all = append(all, key.match(to, netip.AddrPort{}))
		}
	}
	slices.SortFunc(all, conntrack.Match.Compare)
	return slices.Compact(all)
}

// left are the connections to an address of the front that its endpoints of before have, and
// those of now do not serve.
func (k FrontKey) left(to netip.Addr, before, now []netip.AddrPort) []conntrack.Match {
	if len(now) == 0 && len(before) > 0 {
		return []conntrack.Match{k.match(to, netip.AddrPort{})}
	}
	var all []conntrack.Match
	for _, e := range before {
		if !slices.Contains(now, e) {
			all = append(all, k.match(to, e))
		}
	}
	return all
}

// addresses are those at which the front is called.
func (k FrontKey) addresses(node []netip.Addr) []netip.Addr {
	if k.Address.IsValid() {
		return []netip.Addr{k.Address}
	}
	var all []netip.Addr
	for _, a := range node {
		if a.Is6() == k.IPv6 {
			all = append(all, a)
		}
	}
	return all
}

// match is of all connections to the front, or of those that an endpoint has.
func (k FrontKey) match(to netip.Addr, endpoint netip.AddrPort) conntrack.Match {
	m := conntrack.Match{Original: conntrack.Tuple{Destination: to, Protocol: k.Protocol, DestinationPort: k.Port}}
	if endpoint.IsValid() {
		m.Reply = conntrack.Tuple{Source: endpoint.Addr(), Protocol: k.Protocol, SourcePort: endpoint.Port()}
	}
	return m
}

// Matches are those by which Stale and Again may mean a connection: its front, the front and who
// answers, and the connection itself.
func Matches(c conntrack.Match) [3]conntrack.Match {
	front := conntrack.Match{Original: conntrack.Tuple{
		Destination: c.Original.Destination, Protocol: c.Original.Protocol, DestinationPort: c.Original.DestinationPort,
	}}
	answered := front
	answered.Reply = conntrack.Tuple{Source: c.Reply.Source, Protocol: c.Reply.Protocol, SourcePort: c.Reply.SourcePort}
	return [3]conntrack.Match{front, answered, c}
}

// Serving knows who serves the lasting fronts of a node.
type Serving struct {
	Cluster Cluster

	fronts map[FrontKey][]netip.AddrPort
}

// Remove forgets who serves a Service; nil has no fronts.
func (s *Serving) Remove(service *Service) {
	for key := range service.fronts() {
		delete(s.fronts, key)
	}
}

// Add notes who serves a Service.
func (s *Serving) Add(service *Service) {
	if s.fronts == nil {
		s.fronts = map[FrontKey][]netip.AddrPort{}
	}
	maps.Copy(s.fronts, service.fronts())
}

// front returns who serves what a client calls, if it is a front.
func (s *Serving) front(called conntrack.Tuple) ([]netip.AddrPort, bool) {
	key := FrontKey{called.Destination, called.Destination.Is6(), called.Protocol, called.DestinationPort}
	serving, ours := s.fronts[key]
	if !ours && slices.Contains(s.Cluster.NodeAddresses, called.Destination) {
		key.Address = netip.Addr{}
		serving, ours = s.fronts[key]
	}
	return serving, ours
}

// Stale says whether a connection is with somebody who does not serve the front that its
// client called. Nobody serves a cluster IP that no Service has. Connections to what else is
// no front are others'.
//
// Of TCP a connection is stale if it was not translated although its client called a cluster
// IP: its first packet came while there were no rules. All that follow, also those of the next
// client with the same port, would not be translated either, for as long as the kernel knows it.
func (s *Serving) Stale(m conntrack.Match) bool {
	clusterIP := slices.ContainsFunc(s.Cluster.Services, func(p netip.Prefix) bool { return p.Contains(m.Original.Destination) })
	if !lasting(m.Original.Protocol) {
		return clusterIP && m.Reply.Source == m.Original.Destination
	}
	serving, ours := s.front(m.Original)
	return (ours || clusterIP) && !slices.Contains(serving, netip.AddrPortFrom(m.Reply.Source, m.Reply.SourcePort))
}

// Again returns what is still stale of connections that were: of those to a whole front that
// is served now, the ones that were not translated.
func (s *Serving) Again(m conntrack.Match) (conntrack.Match, bool) {
	serving, ours := s.front(m.Original)
	switch {
	case !ours || len(serving) == 0:
		return m, true
	case m.Reply.Source.IsValid():
		return m, !slices.Contains(serving, netip.AddrPortFrom(m.Reply.Source, m.Reply.SourcePort))
	default:
		m.Reply = conntrack.Tuple{Source: m.Original.Destination, Protocol: m.Original.Protocol, SourcePort: m.Original.DestinationPort}
		return m, true
	}
}
