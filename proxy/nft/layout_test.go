package nft_test

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// The layouts that Fairway needs, as the probes of its design proved them. They
// are here to show that the vocabulary is complete.

const (
	tcp = unix.IPPROTO_TCP
	udp = unix.IPPROTO_UDP
)

// rule is a rule without a comment.
func rule(steps ...nft.Expression) nft.Rule { return nft.Rule{Do: nft.Do(steps...)} }

func local(s nft.Source) nft.Sequence { return nft.Is(s, nft.Number(unix.RTN_LOCAL)) }

// service has the words of one family's service table.
type service struct{ nft.Family }

func (s service) unspecified() nft.Value {
	if s.Family == nft.IPv6 {
		return nft.Addr(netip.IPv6Unspecified())
	}
	return nft.Addr(netip.IPv4Unspecified())
}

func (s service) key() []nft.Source {
	return []nft.Source{nft.Daddr(s.Family), nft.L4Proto(), nft.Dport()}
}

func (s service) nodeKey() []nft.Source {
	return []nft.Source{nft.Constant(s.unspecified()), nft.L4Proto(), nft.Dport()}
}

func (s service) original(addr nft.Source) []nft.Source {
	return []nft.Source{addr, nft.L4Proto(), nft.CtOriginalDport()}
}

func (s service) keyType(more ...nft.Field) nft.Type {
	return append(nft.Type{s.Address(), nft.InetProto, nft.InetService}, more...)
}

func (s service) sets() []nft.Set {
	a := s.Address()
	verdict := nft.Type{nft.Verdicts}
	endpoint := nft.Type{nft.InetService, a, nft.InetService}
	return []nft.Set{
		{Name: "services", Key: s.keyType(), Value: verdict},
		{Name: "internal", Key: s.keyType(), Value: verdict},
		{Name: "external", Key: s.keyType(), Value: verdict},
		{Name: "endpoints", Key: s.keyType(nft.Mark), Value: nft.Type{a, nft.InetService}},
		{Name: "cluster-ips", Key: nft.Type{a}},
		{Name: "service-ranges", Key: nft.Type{a}, Interval: true},
		{Name: "pods", Key: nft.Type{a}, Interval: true},
		{Name: "hairpin", Key: nft.Type{a, a}},
		{Name: "masquerade", Key: s.keyType()},
		{Name: "allowed", Key: s.keyType(a), Interval: true},
		{Name: "affinity", Key: append(nft.Type{a}, s.keyType()...), Value: endpoint, Dynamic: true, Timed: true, Size: 65536},
		{Name: "sticky", Key: append(nft.Type{nft.Mark}, s.keyType()...), Value: endpoint},
		{Name: "members", Key: s.keyType(a, nft.InetService)},
	}
}

func (s service) table() nft.Table {
	hook := func(p nft.HookPoint, priority int32) *nft.Hook {
		return &nft.Hook{Type: nft.NAT, Point: p, Priority: priority}
	}
	f := s.Family
	entry := []nft.Rule{
		{Comment: "Services by address", Do: nft.Do(nft.VMap("services", s.key()...))},
		{Comment: "NodePorts", Do: nft.Do(local(nft.FibDaddrType()), nft.VMap("services", s.nodeKey()...))},
		rule(nft.In("cluster-ips", nft.Daddr(f)), nft.Goto("refuse")),
		rule(nft.In("service-ranges", nft.Daddr(f)), nft.Count{Name: "unallocated"}, nft.Drop()),
	}
	chains := []nft.Chain{
		{Name: "prerouting", Hook: hook(nft.Prerouting, -100), Rules: entry},
		{Name: "output", Hook: hook(nft.Output, -100), Rules: entry},
		{Name: "refuse", Rules: []nft.Rule{
			rule(nft.Is(nft.L4Proto(), nft.Proto(tcp)), nft.RejectTCP()),
			rule(nft.RejectPort(f)),
		}},
		{Name: "postrouting", Hook: hook(nft.Postrouting, 100), Rules: []nft.Rule{
			rule(nft.HasNone(nft.CtStatus(), nft.CtDNAT), nft.Return()),
			rule(nft.In("hairpin", nft.Saddr(f), nft.Daddr(f)), nft.Masquerade{}),
			rule(nft.In("pods", nft.Saddr(f)), nft.Return()),
			rule(nft.In("masquerade", s.original(nft.CtOriginalDaddr(f))...), nft.Masquerade{}),
			rule(nft.In("masquerade", s.original(nft.Constant(s.unspecified()))...), nft.Masquerade{}),
		}},
	}
	for name, key := range map[string][]nft.Source{"": s.key(), "-nodeport": s.nodeKey()} {
		chains = append(chains, s.views(name, key)...)
	}
	return nft.Table{
		Family: f, Name: "fairway", Version: 1, Counters: []string{"unallocated"}, Sets: s.sets(), Chains: chains,
	}
}

// views are the chains that choose by a packet's source.
func (s service) views(name string, key []nft.Source) []nft.Chain {
	f := s.Family
	return []nft.Chain{
		{Name: "by-source" + name, Rules: []nft.Rule{
			rule(nft.In("pods", nft.Saddr(f)), nft.VMap("internal", key...)),
			rule(local(nft.FibSaddrType()), nft.VMap("internal", key...)),
			rule(nft.VMap("external", key...)),
			rule(nft.Drop()),
		}},
		{Name: "guarded" + name, Rules: []nft.Rule{
			rule(nft.NotIn("allowed", append(key[:3:3], nft.Saddr(f))...), nft.Drop()),
			rule(nft.Goto("by-source" + name)),
		}},
	}
}

// slots is the chain of n endpoints; those of a node's own begin at offset.
func (s service) slots(name string, key []nft.Source, n, offset uint32) nft.Chain {
	return nft.Chain{Name: name, Rules: []nft.Rule{
		rule(nft.DNATMap(s.Family, "endpoints", append(key[:3:3], nft.Random(n, offset))...)),
		{Comment: "a commit between two lookups", Do: nft.Do(
			nft.DNATMap(s.Family, "endpoints", append(key[:3:3], nft.Constant(nft.Number(offset)))...), nft.Counter{})},
		rule(nft.Drop()),
	}}
}

// sticky is the chain of n endpoints that clients come back to.
func (s service) sticky(n uint32, timeout time.Duration) nft.Chain {
	f := s.Family
	width := nft.Register(1)
	if f == nft.IPv6 {
		width = 4
	}
	saddr, daddr := nft.Register(0), width
	dport := daddr + width + 1
	addr := dport + 1
	port := addr + width
	load := nft.Load(daddr, nft.Daddr(f), nft.L4Proto(), nft.Dport(), nft.Daddr(f), nft.Dport())
	value := nft.Destination{Kind: nft.ToRegister, To: dport}
	write := func(o nft.Operation, timeout time.Duration) nft.Expression {
		return nft.WriteSet{Operation: o, Set: "affinity", Key: saddr, Value: value, Timeout: timeout}
	}
	chain := s.slots(fmt.Sprintf("s%d-%d", n, int(timeout.Seconds())), s.key(), n, 0)
	chain.Rules = append([]nft.Rule{
		{Comment: "a known client", Do: nft.Do(
			nft.Load(saddr, nft.Saddr(f)), load,
			nft.Lookup{From: saddr, Set: "affinity", Into: value}, nft.Load(dport, nft.Dport()),
			nft.Lookup{From: daddr, Set: "members"},
			write(nft.Update, timeout), nft.DNAT(f, addr, port))},
		{Comment: "a new client", Do: nft.Do(
			load, nft.Load(daddr-1, nft.Random(n, 0)),
			nft.Lookup{From: daddr - 1, Set: "sticky", Into: value}, nft.Load(dport, nft.Dport()),
			nft.Load(saddr, nft.Saddr(f)),
			write(nft.Delete, 0), write(nft.Add, timeout), nft.DNAT(f, addr, port))},
	}, chain.Rules...)
	return chain
}

// backend is the part of a Service with endpoints.
func (s service) backend(ip, protocol string, port uint16, endpoints ...string) nft.Part {
	number := uint8(tcp)
	if protocol == "udp" {
		number = udp
	}
	n := uint32(len(endpoints)) //nolint:gosec // few
	fields := []nft.Value{addr(ip), nft.Proto(number), nft.Port(port)}
	key := nft.Concat(fields...)
	chain := s.slots(fmt.Sprintf("s%d", n), s.key(), n, 0)
	part := nft.Part{Chains: []nft.Chain{chain}, Elements: map[string][]nft.Element{
		"services":    {{Key: key, Verdict: nft.Goto(chain.Name)}},
		"cluster-ips": {{Key: addr(ip)}},
	}}
	for i, e := range endpoints {
		at := netip.MustParseAddrPort(e)
		part.Elements["endpoints"] = append(part.Elements["endpoints"], nft.Element{
			Key:   key + nft.Number(uint32(i)), //nolint:gosec // few
			Value: nft.Concat(nft.Addr(at.Addr()), nft.Port(at.Port())),
		})
	}
	return part
}
