package service

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// name of the tables, and the version of what they hold.
const (
	name    = "fairway-services"
	version = 3
)

// Unallocated is the counter of packets to cluster IPs that no Service has.
const Unallocated = "unallocated"

// Untranslated is the counter of packets to cluster IPs that belong to no connection.
const Untranslated = "untranslated"

// Unassigned is the counter of packets from outside to addresses of load balancers, at ports
// that no Service has there.
const Unassigned = "unassigned"

// Led is the map of the addresses and ports that lead somewhere. It is empty only in a table
// that never had Services.
const Led = services

// mostClients are the clients of each family that the node remembers for session affinity.
// Those beyond get an endpoint, but not the same again.
const mostClients = 1 << 18

// families are those of the tables.
func families() []nft.Family { return []nft.Family{nft.IPv4, nft.IPv6} }

func familyOf(ipv6 bool) nft.Family {
	if ipv6 {
		return nft.IPv6
	}
	return nft.IPv4
}

// Key of the table of a family.
func Key(f nft.Family) nft.TableKey { return nft.TableKey{Family: f, Name: name} }

// Names of sets and maps.
const (
	services     = "services"
	ways         = "ways"
	ends         = "ends"
	inside       = "inside"
	outside      = "outside"
	endpoints    = "endpoints"
	clusterIPSet = "cluster-ips"
	ranges       = "service-ranges"
	pods         = "pods"
	localPods    = "local-pods"
	insiders     = "inside-pods"
	nodePorts    = "node-port-addresses"
	balancers    = "balancer-ranges"
	hairpin      = "hairpin"
	masquerade   = "masquerade"
	ofNode       = "masquerade-node"
	allowed      = "allowed"
	clients      = "clients"
	sticky       = "sticky"
	members      = "members"
	localMembers = "local-members"
)

// Names of chains.
const (
	refuse   = "refuse"
	bySource = "by-source"
	guarded  = "guarded"
	forNode  = "-node-port" // follows a name: the same by the key of a NodePort
)

// Tables returns the tables without elements.
func Tables() []nft.Table {
	var all []nft.Table
	for _, f := range families() {
		t := table{f}
		all = append(all, nft.Table{
			Family: f, Name: name, Version: version, Counters: []string{Unallocated, Untranslated, Unassigned}, Sets: t.sets(), Chains: t.chains(),
		})
	}
	return all
}

// table has the words of one family.
type table struct{ nft.Family }

// unspecified stands for every address of the node that serves node ports.
func unspecified(f nft.Family) nft.Value {
	if f == nft.IPv6 {
		return nft.Addr(netip.IPv6Unspecified())
	}
	return nft.Addr(netip.IPv4Unspecified())
}

// key is that of a front.
func (t table) key(nodePort bool) []nft.Source {
	to := nft.Daddr(t.Family)
	if nodePort {
		to = nft.Constant(unspecified(t.Family))
	}
	return []nft.Source{to, nft.L4Proto(), nft.Dport()}
}

// original is the key that the client called.
func (t table) original(nodePort bool) []nft.Source {
	to := nft.CtOriginalDaddr(t.Family)
	if nodePort {
		to = nft.Constant(unspecified(t.Family))
	}
	return []nft.Source{to, nft.L4Proto(), nft.CtOriginalDport()}
}

// keyType is the type of key, with more fields behind it.
func (t table) keyType(more ...nft.Field) nft.Type {
	return append(nft.Type{t.Address(), nft.InetProto, nft.InetService}, more...)
}

func (t table) sets() []nft.Set {
	a, way := t.Address(), nft.Type{nft.Mark}
	toWay := nft.Type{nft.InetService, nft.Mark}
	// The port that is first is there for nft, which cannot list a map otherwise (ADR 24).
	remembered := nft.Type{nft.InetService, a, nft.InetService}
	return append(t.lateSets(), []nft.Set{
		{Name: services, Comment: "where each address and port leads, see ways", Key: t.keyType(), Value: toWay},
		{Name: inside, Comment: "for pods and this node, where it differs", Key: t.keyType(), Value: toWay},
		{Name: outside, Comment: "for others, where it differs", Key: t.keyType(), Value: toWay},
		{Name: ways, Comment: "few: the kernel looks at all if one changes", Key: way, Value: nft.Type{nft.Verdicts}},
		{Name: ends, Comment: "of inside and outside", Key: way, Value: nft.Type{nft.Verdicts}},
		{Name: endpoints, Comment: "by slot; those of this node from 65536 on", Key: t.keyType(nft.Mark), Value: nft.Type{a, nft.InetService}},
		{Name: clusterIPSet, Key: nft.Type{a}},
		{Name: ranges, Comment: "of cluster IPs", Key: nft.Type{a}, Interval: true},
		{Name: pods, Comment: "of the cluster", Key: nft.Type{a}, Interval: true},
		{Name: localPods, Comment: "of this node: answers to them come back here", Key: nft.Type{a}, Interval: true},
		{Name: insiders, Comment: "of this node; of the cluster, if that is not known", Key: nft.Type{a}, Interval: true},
		{Name: balancers, Comment: "of load balancers' addresses", Key: nft.Type{a}, Interval: true},
		{Name: nodePorts, Comment: "at which node ports answer", Key: nft.Type{a}, Interval: true},
		{Name: hairpin, Comment: "an endpoint that calls itself", Key: nft.Type{a, a}},
		{Name: masquerade, Comment: "all but pods of this node", Key: t.keyType()},
		{Name: ofNode, Comment: "this node alone", Key: t.keyType()},
		{Name: allowed, Comment: "sources of guarded addresses", Key: t.keyType(a), Interval: true},
		{Name: clients, Comment: "session affinity", Key: append(nft.Type{a}, t.keyType()...), Value: remembered, Dynamic: true, Timed: true, Size: mostClients},
		{Name: sticky, Comment: "endpoints by slot, for session affinity", Key: append(nft.Type{nft.Mark}, t.keyType()...), Value: remembered},
		{Name: members, Comment: "endpoints that clients may return to", Key: t.keyType(a, nft.InetService)},
		{Name: localMembers, Comment: "those of this node", Key: t.keyType(a, nft.InetService)},
	}...)
}

// loopback are addresses at which no node port answers: a packet from one cannot leave the
// node, and what a program of the node serves there is for the node alone.
func loopback(f nft.Family) netip.Prefix {
	if f == nft.IPv6 {
		return netip.PrefixFrom(netip.IPv6Loopback(), netip.IPv6Loopback().BitLen())
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
}

func isLocal(s nft.Source) nft.Sequence { return nft.Is(s, nft.Number(unix.RTN_LOCAL)) }

// rule is a rule without a comment.
func rule(steps ...nft.Expression) nft.Rule { return nft.Rule{Do: nft.Do(steps...)} }

// Priorities of our hooks. They are ahead of kube-proxy's, which are 100, so that both may be
// there while one takes over from the other: the first that translates a connection wins.
const (
	destinations = -101
	sources      = 99
)

// judged is behind the filters of others, which see who really answers.
const judged = 50

func (t table) chains() []nft.Chain {
	hook := func(point nft.HookPoint, priority int32) *nft.Hook {
		return &nft.Hook{Type: nft.NAT, Point: point, Priority: priority}
	}
	f := t.Family
	dispatch := []nft.Rule{
		{Comment: "addresses of Services", Do: nft.Do(nft.VMapOf(ways, services, t.key(false)...))},
		{Comment: "node ports", Do: nft.Do(
			nft.In(nodePorts, nft.Daddr(f)), nft.Outside(nft.Daddr(f), loopback(f)), isLocal(nft.FibDaddrType()), nft.VMapOf(ways, services, t.key(true)...))},
		{Comment: "no Service has this port", Do: nft.Do(nft.In(clusterIPSet, nft.Daddr(f)), nft.Goto(refuse))},
		{Comment: "no Service has this address", Do: nft.Do(nft.In(ranges, nft.Daddr(f)), nft.Count{Name: Unallocated}, nft.Drop())},
	}
	// Without it the packet went back to where it came from, which sends it here again.
	strays := nft.Rule{Comment: "no Service has this port of a load balancer's address", Do: nft.Do(
		nft.In(balancers, nft.Daddr(f)), nft.NotIn(pods, nft.Saddr(f)), nft.IsNot(nft.FibDaddrType(), nft.Number(unix.RTN_LOCAL)),
		nft.Count{Name: Unassigned}, nft.Goto(refuse))}
	chains := []nft.Chain{
		{Name: "prerouting", Hook: hook(nft.Prerouting, destinations), Rules: append(slices.Clone(dispatch), strays)},
		{Name: "output", Hook: hook(nft.Output, destinations), Rules: dispatch},
		{Name: "postrouting", Hook: hook(nft.Postrouting, sources), Rules: t.sources()},
		// A packet that connection tracking does not know passes the chains of translation by. It
		// must not leave the node for whoever has the default route: its sender tries again.
		{Name: "forward", Hook: &nft.Hook{Type: nft.Filter, Point: nft.Forward, Priority: judged}, Rules: []nft.Rule{
			{Comment: "not translated", Do: nft.Do(nft.In(ranges, nft.Daddr(f)), nft.Count{Name: Untranslated}, nft.Drop())},
			t.late(),
		}},
		{Name: refuse, Rules: []nft.Rule{
			rule(nft.Is(nft.L4Proto(), nft.Proto(unix.IPPROTO_TCP)), nft.RejectTCP()),
			rule(nft.RejectPort(f)),
		}},
	}
	for _, nodePort := range []bool{false, true} {
		chains = append(chains, t.views(nodePort)...)
	}
	return chains
}

// of is the name of a chain for the key of addresses, or for that of node ports.
func of(chain string, nodePort bool) string {
	if nodePort {
		return chain + forNode
	}
	return chain
}

// views are the chains that choose by a packet's source.
func (t table) views(nodePort bool) []nft.Chain {
	f, key := t.Family, t.key(nodePort)
	return []nft.Chain{
		{Name: of(bySource, nodePort), Rules: []nft.Rule{
			rule(nft.In(insiders, nft.Saddr(f)), nft.VMapOf(ends, inside, key...)),
			rule(isLocal(nft.FibSaddrType()), nft.VMapOf(ends, inside, key...)),
			rule(nft.VMapOf(ends, outside, key...)),
			{Comment: "a commit between two lookups", Do: nft.Do(nft.Drop())},
		}},
		{Name: of(guarded, nodePort), Rules: []nft.Rule{
			rule(nft.NotIn(allowed, append(key[:3:3], nft.Saddr(f))...), nft.Drop()),
			rule(nft.Goto(of(bySource, nodePort))),
		}},
	}
}

// sources gives an address of the node to what must come back to it.
func (t table) sources() []nft.Rule {
	f := t.Family
	rules := []nft.Rule{
		rule(nft.HasNone(nft.CtStatus(), nft.CtDNAT), nft.Return()),
		rule(nft.In(hairpin, nft.Saddr(f), nft.Daddr(f)), nft.Masquerade{}),
		rule(nft.In(localPods, nft.Saddr(f)), nft.Return()),
	}
	for _, nodePort := range []bool{false, true} {
		rules = append(rules, rule(nft.In(masquerade, t.original(nodePort)...), nft.Masquerade{}))
	}
	for _, nodePort := range []bool{false, true} {
		rules = append(rules, rule(isLocal(nft.FibSaddrType()), nft.In(ofNode, t.original(nodePort)...), nft.Masquerade{}))
	}
	return rules
}
