package nft

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// fake is a table of rules by chain. Chains whose names end in "…" are not read whole.
type fake map[string][]Rule

func (f fake) rules(chain string) ([]Rule, bool) { return f[chain], !strings.HasSuffix(chain, "…") }

// The only set has 10.1.0.1, with a verdict.
func (fake) keyLength(set string) int {
	if set != "set" {
		return 0
	}
	return 4
}

func (fake) element(_ string, key Value) (Element, bool) {
	return Element{Verdict: Jump("yes"), Value: Port(7)}, key == Value("\x0a\x01\x00\x01")
}

// xtables is a match or target of iptables.
func xtables(kind string, nameKind uint16, name string, info []byte) Unknown {
	var a message.Attributes
	a.Text(nameKind, name)
	a.Uint32(unix.NFTA_MATCH_REV, 3)
	a.Bytes(unix.NFTA_MATCH_INFO, info)
	return Unknown{kind, string(a)}
}

// states is what iptables has of -m conntrack --ctstate.
func states(mask, inverted, flags uint16) Unknown {
	info := make([]byte, 164)
	binary.NativeEndian.PutUint16(info[146:], flags)
	binary.NativeEndian.PutUint16(info[148:], inverted)
	binary.NativeEndian.PutUint16(info[150:], mask)
	return xtables(matchOfXtables, unix.NFTA_MATCH_NAME, "conntrack", info)
}

func TestTrace(t *testing.T) {
	packet := Packet{In: "fwpod", Out: "eth0", From: netip.MustParseAddr("10.1.0.1"), To: netip.MustParseAddr("10.1.0.2")}
	do := func(steps ...Expression) []Rule { return []Rule{{Do: Do(steps...)}} }
	mark := Is(Meta{Key: unix.NFT_META_MARK}, Number(1))
	many := slices.Repeat(do(Jump("no end")), 3)
	for _, test := range []struct {
		name   string
		chains fake
		drop   bool // the policy
		want   string
	}{
		{name: "nothing", want: "passes"},
		{name: "policy", drop: true, want: "lost by policy of base"},
		{name: "a program decides", chains: fake{"base": do(Unknown{"queue", ""})}, drop: true, want: "a program decides"},
		{name: "a program of iptables decides", chains: fake{"base": do(xtables(targetOfXtables, unix.NFTA_TARGET_NAME, "NFQUEUE", nil))}, drop: true, want: "a program decides"},
		{name: "a target that goes on", chains: fake{"base": do(xtables(targetOfXtables, unix.NFTA_TARGET_NAME, "LOG", nil), Accept())}, drop: true, want: "passes"},
		{name: "a target that rejects", chains: fake{"base": do(xtables(targetOfXtables, unix.NFTA_TARGET_NAME, "REJECT", nil))}, want: "lost in base"},
		{name: "a comment", chains: fake{"base": do(xtables(matchOfXtables, unix.NFTA_MATCH_NAME, "comment", nil), Accept())}, drop: true, want: "passes"},
		{name: "a match that is not known", chains: fake{"base": do(xtables(matchOfXtables, unix.NFTA_MATCH_NAME, "set", nil), Accept())}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "new connections", chains: fake{"base": do(states(8, 0, 1), Accept())}, drop: true, want: "passes"},
		{name: "connections that are not new", chains: fake{"base": do(states(8, 1, 1), Accept())}, drop: true, want: "lost by policy of base"},
		{name: "connections that are not invalid", chains: fake{"base": do(states(1, 1, 1), Accept())}, drop: true, want: "passes"},
		{name: "established connections", chains: fake{"base": do(states(6, 0, 1), Accept())}, drop: true, want: "lost by policy of base"},
		{name: "connections by more than state", chains: fake{"base": do(states(8, 0, 3), Accept())}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "a subchain drops", chains: fake{"base": do(Jump("no")), "no": do(Drop())}, want: "lost in no"},
		{name: "return from a subchain", chains: fake{"base": append(do(Jump("sub")), do(Drop())...), "sub": append(do(Return()), do(Accept())...)}, want: "lost in base"},
		{name: "goto does not come back", chains: fake{"base": append(do(Goto("sub")), do(Drop())...), "sub": nil}, want: "passes"},
		{
			name:   "goto comes back to where the jump was",
			chains: fake{"base": append(do(Jump("sub")), do(Accept())...), "sub": append(do(Goto("end")), do(Drop())...), "end": do(Return())},
			drop:   true, want: "passes",
		},
		{name: "a verdict to go on", chains: fake{"base": append(do(Verdict{}), do(Accept())...)}, drop: true, want: "passes"},
		{name: "a mark", chains: fake{"base": do(mark, Accept())}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "a mark that jumps to nothing", chains: fake{"base": do(mark, Jump("sub")), "sub": nil}, drop: true, want: "lost by policy of base"},
		{name: "a mark that jumps to accept", chains: fake{"base": do(mark, Jump("yes")), "yes": do(Accept())}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "a mark that drops", chains: fake{"base": do(mark, Drop())}, want: "passes"},
		{name: "a mark of another interface", chains: fake{"base": do(mark, Is(IIFName(), Device("eth9")), Accept())}, drop: true, want: "lost by policy of base"},
		{name: "a limit", chains: fake{"base": do(Limit{Rate: 1}, Accept())}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "in the set", chains: fake{"base": do(In("set", Saddr(IPv4)), Accept())}, drop: true, want: "passes"},
		{name: "not in the set", chains: fake{"base": do(In("set", Daddr(IPv4)), Accept())}, drop: true, want: "lost by policy of base"},
		{name: "outside the set", chains: fake{"base": do(NotIn("set", Daddr(IPv4)), Accept())}, drop: true, want: "passes"},
		{name: "a set that is gone", chains: fake{"base": do(In("other", Daddr(IPv4)), Accept())}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "a key that is not known", chains: fake{"base": do(VMap("set", Meta{Key: unix.NFT_META_MARK}))}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "a map of verdicts", chains: fake{"base": do(VMap("set", Saddr(IPv4))), "yes": do(Accept())}, drop: true, want: "passes"},
		{name: "a map of values", chains: fake{"base": do(Saddr(IPv4), Lookup{Set: "set", Into: Destination{ToRegister, 2}}, Compare{From: 2, Value: Port(7)}, Accept())}, drop: true, want: "passes"},
		{name: "headers", chains: fake{"base": do(Is(L4Proto(), Proto(unix.IPPROTO_TCP)), IsMasked(TCPFlags(), Proto(SYN|ACK|RST|FIN), Proto(SYN)),
			Is(Payload{Base: unix.NFT_PAYLOAD_NETWORK_HEADER, Offset: 9, Length: 1}, Proto(unix.IPPROTO_TCP)), IsBetween(Dport(), Port(40000), Port(50000)), Accept())}, drop: true, want: "passes"},
		{name: "prefixes", chains: fake{"base": do(Within(Saddr(IPv4), netip.MustParsePrefix("10.1.0.0/16")), Outside(Daddr(IPv4), netip.MustParsePrefix("10.2.0.0/16")), Accept())}, drop: true, want: "passes"},
		{name: "beyond the header", chains: fake{"base": do(Is(Payload{Base: unix.NFT_PAYLOAD_NETWORK_HEADER, Offset: 1 << 31, Length: 1 << 31}, ""), Accept())}, want: "passes"},
		{name: "numbers in the other order", chains: fake{"base": do(Immediate{Value: Number(0x01020304)}, Byteorder{Length: 4, Size: 4}, Compare{Value: "\x01\x02\x03\x04"}, Accept())}, drop: true, want: "passes"},
		{name: "a register that nothing has filled", chains: fake{"base": do(Compare{From: 3, Value: Number(0)}, Accept())}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "a register that there is not", chains: fake{"base": do(Compare{From: 248, Value: Number(0)}, Accept())}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "something writes a register", chains: fake{"base": do(Is(IIFName(), DevicePrefix("fw")), Unknown{"hash", ""}, Compare{Value: DevicePrefix("eth")}, Accept())}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "rules that were not read", chains: fake{"base": do(Jump("much…")), "much…": nil}, drop: true, want: "lost by policy of base, perhaps"},
		{name: "chains without end", chains: fake{"base": many, "no end": many}, drop: true, want: "lost by policy of base, perhaps"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := trace{packet: packet, rules: test.chains}
			got := map[fate]string{passes: "passes", unknown: "a program decides", lost: "lost in "}[tr.base(Chain{Name: "base", Hook: &Hook{Drop: test.drop}})]
			if got == "lost in " {
				if tr.byPolicy {
					got = "lost by policy of "
				}
				got += tr.last
				if tr.doubt {
					got += ", perhaps"
				}
			}
			if got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// Rules of others may hold anything.
func FuzzTrace(f *testing.F) {
	w := &writer{table: TableKey{IPv4, "t"}}
	w.newRules(Chain{Name: "base", Rules: []Rule{{Do: everyExpression()}}})
	for _, m := range w.messages {
		f.Add([]byte(m.Attributes))
	}
	packet := Packet{In: "fwpod", Out: "eth0", From: netip.MustParseAddr("::1"), To: netip.MustParseAddr("::2")}
	f.Fuzz(func(_ *testing.T, b []byte) {
		rule := decodeRule(message.Parse(b))
		rules := fake{"base": {rule}}
		for _, e := range rule.Do {
			rules["base"] = append(rules["base"], Rule{Do: []Expression{e, Accept()}})
		}
		maps.Copy(rules, fake{"yes": {rule}})
		t := trace{packet: packet, rules: rules}
		t.base(Chain{Name: "base", Hook: &Hook{}})
	})
}
