package nft

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// everyExpression is one of each kind, and both of each choice.
func everyExpression() []Expression {
	var all []Expression
	for _, s := range []Source{
		Saddr(IPv4), Daddr(IPv4), Saddr(IPv6), Daddr(IPv6), Sport(), Dport(), TCPFlags(), ICMPType(), L4Proto(), Protocol(),
		IIFName(), OIFName(), IIFType(), CtState(), CtStatus(), CtDirection(), CtOriginalSaddr(IPv4), CtOriginalDaddr(IPv4),
		CtOriginalSaddr(IPv6), CtOriginalDaddr(IPv6), CtOriginalDport(), FibDaddrType(), FibSaddrType(), FibSaddrIIF(),
		Constant(Number(5)), Random(3, 65536),
	} {
		for _, r := range []Register{0, 4, 7} {
			all = append(all, Load(r, s)...)
		}
	}
	net := netip.MustParsePrefix("10.0.0.0/9")
	return append(all, Do(
		Is(Dport(), Port(1)), IsNot(Dport(), Port(2)), IsBetween(Dport(), Port(1), Port(2)),
		Range{From: 3, Not: true, First: Port(3), Last: Port(4)},
		IsMasked(TCPFlags(), Proto(SYN|ACK), Proto(SYN)), HasAny(CtState(), CtNew), HasNone(CtStatus(), CtDNAT),
		Within(Saddr(IPv4), net), Outside(Saddr(IPv4), net),
		In("plain", Saddr(IPv4)), NotIn("plain", Saddr(IPv4)), VMap("verdicts", Saddr(IPv4)),
		Is(L4Proto(), Proto(unix.IPPROTO_TCP)), DNATMap(IPv4, "map", Saddr(IPv4)), Counter{}, Count{"count"},
		Limit{Rate: 5, Burst: 6}, Limit{Rate: 7, Burst: 8, Over: true}, Log{"prefix"}, LogTo{8479, "prefix"}, LogTo{0, "other"}, ClampMSS(),
		Load(0, Saddr(IPv4), Daddr(IPv4), Dport()),
		WriteSet{Operation: Update, Set: "dynamic", Timeout: 3 * time.Hour, Value: Destination{ToRegister, 1}},
		WriteSet{Operation: Delete, Set: "dynamic", Value: Destination{ToRegister, 1}},
		Load(0, Saddr(IPv6)), SetSaddr(IPv4, 1), SetSaddr(IPv6, 0), SetUDPSport(2), RejectTCP(),
	)...)
}

func TestValuesComeBackFromTheKernel(t *testing.T) {
	table := Table{
		Family: IPv4, Name: "codec", Version: 3, Counters: []string{"count"},
		Sets: []Set{
			{Name: "plain", Key: Type{IPv4Addr}, Comment: "a comment"},
			{Name: "verdicts", Key: Type{IPv4Addr}, Value: Type{Verdicts}},
			{Name: "map", Key: Type{IPv4Addr}, Value: Type{IPv4Addr, InetService}},
			{Name: "dynamic", Key: Type{IPv4Addr}, Value: Type{IPv4Addr, InetService}, Dynamic: true, Timed: true, Timeout: time.Minute, Size: 100},
			{Name: "flows", Key: Type{InetProto, IfName, Mark, IPv4Addr}, Interval: true},
		},
		Chains: []Chain{
			{Name: "output", Comment: "a base chain", Hook: &Hook{Type: NAT, Point: Output, Priority: -99}},
			{Name: "forward", Hook: &Hook{Type: Filter, Point: Forward, Priority: 7, Drop: true}},
			{Name: "empty"},
			{Name: "reject", Rules: []Rule{{Do: Do(RejectPort(IPv4))}}},
			{Name: "long"},
		},
	}
	for i, e := range [][]Expression{
		Do(Masquerade{}), Do(SNAT(IPv4, Addr(netip.MustParseAddr("10.0.0.1")))), Do(Accept()), Do(Drop()), Do(Return()),
		Do(Jump("empty")), Do(Goto("empty")),
	} {
		name := string(rune('a' + i))
		hook := (*Hook)(nil)
		if i < 2 {
			hook = &Hook{Type: NAT, Point: Postrouting, Priority: 100}
		}
		table.Chains = append(table.Chains, Chain{Name: name, Hook: hook, Rules: []Rule{{Comment: "rule " + name, Do: e}}})
	}
	for rest := everyExpression(); len(rest) > 0; {
		n := min(100, len(rest)) // the kernel takes 128 expressions a rule
		table.Chains[4].Rules = append(table.Chains[4].Rules, Rule{Do: rest[:n]})
		rest = rest[n:]
	}
	e := start(t, table)
	if _, err := e.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	have, err := e.reader.read(t.Context(), table.Key())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range table.Chains {
		if diff := cmp.Diff(c, have.chains[c.Name].Chain); diff != "" {
			t.Errorf("chain %s (-want +kernel):\n%s", c.Name, diff)
		}
	}
	for _, s := range table.Sets {
		if diff := cmp.Diff(s, have.sets[s.Name].Set); diff != "" {
			t.Errorf("set %s (-want +kernel):\n%s", s.Name, diff)
		}
	}
}

func start(t testing.TB, table Table) *Engine {
	t.Helper()
	e, err := New(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Remove(context.WithoutCancel(t.Context()), table.Key()); err != nil {
			t.Error(err)
		}
		e.Close()
	})
	if err := e.Declare(table); err != nil {
		t.Fatal(err)
	}
	return e
}

// A lost answer says nothing: the engine reads what was committed.
func TestALostAnswerIsReadBack(t *testing.T) {
	table := Table{Family: IPv4, Name: "lost", Sets: []Set{{Name: "s", Key: Type{IPv4Addr}}}}
	e := start(t, table)
	if _, err := e.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The kernel commits this batch, and the engine does not know.
	w := &writer{table: table.Key()}
	w.elements(unix.NFT_MSG_NEWSETELEM, table.Sets[0], []*Element{{Key: Number(1)}})
	if err := e.socket.Commit(t.Context(), message.Batch{Messages: w.messages}); err != nil {
		t.Fatal(err)
	}
	e.forget()
	if changes, err := e.Check(t.Context()); err != nil || len(changes) > 0 {
		t.Fatalf("check: %v %v", changes, err)
	}
	have, err := e.reader.read(t.Context(), table.Key())
	if err != nil || len(have.sets["s"].elements) != 0 {
		t.Errorf("elements %v, %v", have.sets["s"].elements, err)
	}
}
