package nft_test

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// policy is the table of NetworkPolicies.
func policy(f nft.Family) nft.Table {
	a := f.Address()
	verdict := nft.Type{nft.Verdicts}
	hook := func(p nft.HookPoint, priority int32) *nft.Hook {
		return &nft.Hook{Type: nft.Filter, Point: p, Priority: priority}
	}
	open := rule(nft.HasAny(nft.CtState(), nft.CtEstablished|nft.CtRelated), nft.Accept())
	self := rule(nft.In("self", nft.Saddr(f), nft.Daddr(f)), nft.Accept())
	input := []nft.Rule{open}
	if f == nft.IPv6 {
		input = append(input, nft.Rule{Comment: "neighbour discovery", Do: nft.Do(
			nft.Is(nft.L4Proto(), nft.Proto(unix.IPPROTO_ICMPV6)),
			nft.IsBetween(nft.ICMPType(), nft.Proto(133), nft.Proto(137)), nft.Accept())})
	}
	return nft.Table{
		Family: f, Name: "fairway-policy", Version: 1,
		Sets: []nft.Set{
			{Name: "cut", Key: nft.Type{nft.InetProto, a, nft.InetService, a, nft.InetService}, Timed: true, Timeout: 24 * time.Hour, Size: 262144},
			{Name: "self", Key: nft.Type{a, a}},
			{Name: "ingress", Key: nft.Type{a}, Value: verdict},
			{Name: "egress", Key: nft.Type{a}, Value: verdict},
		},
		Chains: []nft.Chain{
			{Name: "cut-off", Rules: []nft.Rule{
				rule(nft.Is(nft.L4Proto(), nft.Proto(tcp)),
					nft.IsMasked(nft.TCPFlags(), nft.Proto(nft.FIN|nft.SYN|nft.RST|nft.ACK), nft.Proto(nft.SYN)), nft.Return()),
				rule(nft.Is(nft.L4Proto(), nft.Proto(tcp)), nft.RejectTCP()),
				rule(nft.Drop()),
			}},
			{Name: "deny", Rules: []nft.Rule{rule(nft.Counter{}, nft.Drop())}},
			{Name: "forward-egress", Hook: hook(nft.Forward, 0), Rules: []nft.Rule{
				open,
				rule(nft.In("cut", nft.L4Proto(), nft.Saddr(f), nft.Sport(), nft.Daddr(f), nft.Dport()), nft.Jump("cut-off")),
				self, rule(nft.VMap("egress", nft.Saddr(f))),
			}},
			{Name: "forward-ingress", Hook: hook(nft.Forward, 1), Rules: []nft.Rule{open, self, rule(nft.VMap("ingress", nft.Daddr(f)))}},
			{Name: "input", Hook: hook(nft.Input, 0), Rules: append(input, rule(nft.VMap("egress", nft.Saddr(f))))},
		},
	}
}

// guard is the part of a pod that a policy selects.
func guard() nft.Part {
	p := nft.IPv4
	return nft.Part{
		Sets: []nft.Set{
			{Name: "sel-a", Key: nft.Type{nft.IPv4Addr}},
			{Name: "block-x", Key: nft.Type{nft.IPv4Addr}, Interval: true},
			{Name: "except-x", Key: nft.Type{nft.IPv4Addr}, Interval: true},
			{Name: "named-web", Key: nft.Type{nft.IPv4Addr, nft.InetProto, nft.InetService}},
		},
		Chains: []nft.Chain{{Name: "p2-in", Rules: []nft.Rule{
			rule(nft.In("sel-a", nft.Saddr(p)), nft.In("named-web", nft.Daddr(p), nft.L4Proto(), nft.Dport()), nft.Accept()),
			rule(nft.In("block-x", nft.Saddr(p)), nft.NotIn("except-x", nft.Saddr(p)),
				nft.Is(nft.L4Proto(), nft.Proto(tcp)), nft.IsBetween(nft.Dport(), nft.Port(8080), nft.Port(8081)), nft.Accept()),
			rule(nft.Goto("deny")),
		}}},
		Elements: map[string][]nft.Element{
			"sel-a":     {{Key: addr("10.8.0.11")}},
			"block-x":   {prefix("10.9.0.0/24")},
			"except-x":  {prefix("10.9.0.3/32")},
			"named-web": {{Key: nft.Concat(addr("10.8.0.12"), nft.Proto(tcp), nft.Port(8080))}},
			"ingress":   {{Key: addr("10.8.0.12"), Verdict: nft.Goto("p2-in")}},
			"self":      {{Key: addr("10.8.0.12") + addr("10.8.0.12")}},
			"cut": {{Key: nft.Concat(nft.Proto(tcp), addr("10.8.0.11"), nft.Port(4000),
				addr("10.8.0.12"), nft.Port(80)), Timeout: time.Hour}},
		},
	}
}

// wires is the table of hostPorts, masquerade and what guards pods' wires.
func wires(f nft.Family) nft.Table {
	a := f.Address()
	hook := func(kind nft.ChainType, p nft.HookPoint, priority int32) *nft.Hook {
		return &nft.Hook{Type: kind, Point: p, Priority: priority}
	}
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	if f == nft.IPv6 {
		loopback = netip.MustParsePrefix("::1/128")
	}
	ports := rule(local(nft.FibDaddrType()), nft.DNATMap(f, "ports", nft.L4Proto(), nft.Dport()))
	return nft.Table{
		Family: f, Name: "fairway-cni", Version: 1,
		Sets: []nft.Set{
			{Name: "ports", Key: nft.Type{nft.InetProto, nft.InetService}, Value: nft.Type{a, nft.InetService}},
			{Name: "pods", Key: nft.Type{a}, Interval: true},
			{Name: "wires", Comment: "which pod has which address", Key: nft.Type{nft.IfName, a}},
		},
		Chains: []nft.Chain{
			{Name: "raw", Hook: hook(nft.Filter, nft.Prerouting, -300), Rules: []nft.Rule{
				rule(nft.Is(nft.IIFName(), nft.DevicePrefix("fw")), nft.NotIn("wires", nft.IIFName(), nft.Saddr(f)), nft.Drop()),
				rule(nft.Is(nft.IIFName(), nft.DevicePrefix("fw")), nft.Is(nft.FibSaddrIIF(), nft.Number(0)), nft.Drop()),
			}},
			{Name: "prerouting", Hook: hook(nft.NAT, nft.Prerouting, -95), Rules: []nft.Rule{ports}},
			{Name: "output", Hook: hook(nft.NAT, nft.Output, -95), Rules: []nft.Rule{ports}},
			{Name: "forward", Hook: hook(nft.Filter, nft.Forward, -150), Rules: []nft.Rule{
				{Comment: "segments fit the overlay", Do: nft.Do(nft.Is(nft.L4Proto(), nft.Proto(tcp)),
					nft.IsMasked(nft.TCPFlags(), nft.Proto(nft.SYN|nft.RST), nft.Proto(nft.SYN)), nft.ClampMSS())},
				rule(nft.Limit{Rate: 5, Burst: 10}, nft.Log{Prefix: "fairway: "}),
				rule(nft.Limit{Rate: 2, Burst: 5}, nft.LogTo{Group: 8479, Prefix: "ingress-1"}),
			}},
			{Name: "postrouting", Hook: hook(nft.NAT, nft.Postrouting, 110), Rules: []nft.Rule{
				rule(nft.Within(nft.Saddr(f), loopback), nft.Is(nft.OIFName(), nft.DevicePrefix("fw")), nft.Masquerade{}),
				rule(nft.In("pods", nft.Saddr(f)), nft.NotIn("pods", nft.Daddr(f)), nft.Masquerade{}),
				rule(nft.Outside(nft.Daddr(f), loopback), nft.Is(nft.CtDirection(), nft.Proto(1)), nft.Return()),
			}},
		},
	}
}

func TestNFTListsWhatTheEngineWrites(t *testing.T) {
	four, six := service{nft.IPv4}, service{nft.IPv6}
	e := open(t, nft.Options{WithoutOwner: true},
		four.table(), six.table(), policy(nft.IPv4), policy(nft.IPv6), wires(nft.IPv4), wires(nft.IPv6))
	v4, v6 := four.table().Key(), six.table().Key()
	web := four.backend("10.7.0.1", "tcp", 80, "10.8.0.11:8080", "10.8.0.12:8080", "10.8.0.13:8080")
	web.Chains = append(web.Chains, four.sticky(3, 3*time.Hour))
	web.Elements["pods"] = []nft.Element{prefix("10.8.0.0/24")}
	web.Elements["service-ranges"] = []nft.Element{prefix("10.7.0.0/16")}
	web.Elements["allowed"] = []nft.Element{nft.Prefix(netip.MustParsePrefix("10.9.0.2/31"), addr("10.6.0.4"), nft.Proto(tcp), nft.Port(80))}
	submit(t, e, v4, "shop/web", web)
	submit(t, e, v4, "shop/dns", four.backend("10.7.0.2", "udp", 53, "10.8.0.11:53", "10.8.0.12:53", "10.8.0.13:53"))
	more := six.backend("fd07::1", "tcp", 80, "[fd08::11]:8080", "[fd08::12]:8080")
	more.Chains = append(more.Chains, six.sticky(2, 5*time.Second))
	more.Elements["pods"] = []nft.Element{prefix("fd08::/64")}
	more.Elements["allowed"] = []nft.Element{nft.Prefix(netip.MustParsePrefix("fd09::2/127"), addr("fd06::4"), nft.Proto(tcp), nft.Port(80))}
	submit(t, e, v6, "shop/web", more)
	submit(t, e, policy(nft.IPv4).Key(), "shop/web-2", guard())
	submit(t, e, wires(nft.IPv4).Key(), "pod", nft.Part{Elements: map[string][]nft.Element{
		"wires": {{Key: nft.Concat(nft.Device("fw1"), addr("10.8.0.11"))}},
		"ports": {{Key: nft.Concat(nft.Proto(tcp), nft.Port(8080)), Value: nft.Concat(addr("10.8.0.11"), nft.Port(80))}},
	}})
	commit(t, e)

	run(t, "list", "ruleset")
	run(t, "-j", "list", "ruleset")
	for _, table := range []nft.Table{four.table(), six.table(), policy(nft.IPv4), policy(nft.IPv6), wires(nft.IPv4), wires(nft.IPv6)} {
		k := table.Key()
		golden(t, k.Family.String()+"-"+k.Name+".nft", sorted(run(t, "-n", "-s", "list", "table", k.Family.String(), k.Name)))
	}
}
