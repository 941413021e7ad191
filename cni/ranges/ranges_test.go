package ranges_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/cni/ranges"
)

// prefixes reads prefixes with spaces between them.
func prefixes(words string) []netip.Prefix {
	var all []netip.Prefix
	for word := range strings.FieldsSeq(words) {
		all = append(all, netip.MustParsePrefix(word))
	}
	return all
}

func pools(t testing.TB, words string, bits4, bits6 int) ranges.Pools {
	t.Helper()
	made, err := ranges.New(prefixes(words), bits4, bits6)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Nodes a, b and c ask. What each gets is on a line of its own, and then what is full.
func TestAssign(t *testing.T) {
	for _, c := range []struct {
		name, pools, taken, last string
		bits4, bits6             int
		want                     string
	}{
		{name: "in order", pools: "10.0.0.0/16", want: "a 10.0.0.0/24\nb 10.0.1.0/24\nc 10.0.2.0/24"},
		{name: "both families, that of the first pool first", pools: "fd00::/48 10.0.0.0/16", want: "a fd00::/64 10.0.0.0/24\nb fd00:0:0:1::/64 10.0.1.0/24\nc fd00:0:0:2::/64 10.0.2.0/24"},
		{name: "behind the last one", pools: "10.0.0.0/16", last: "10.0.7.0/24", want: "a 10.0.8.0/24\nb 10.0.9.0/24\nc 10.0.10.0/24"},
		{name: "round", pools: "10.0.0.0/22", last: "10.0.2.0/24", want: "a 10.0.3.0/24\nb 10.0.0.0/24\nc 10.0.1.0/24"},
		{name: "the last one itself comes last", pools: "10.0.0.0/22", last: "10.0.2.0/24", taken: "10.0.0.0/23", want: "a 10.0.3.0/24\nb 10.0.2.0/24\nfull 10.0.0.0/22"},
		{name: "the next pool", pools: "10.0.0.0/24 10.1.0.0/24 10.2.0.0/24", last: "10.1.0.0/24", want: "a 10.2.0.0/24\nb 10.0.0.0/24\nc 10.1.0.0/24"},
		{name: "a last one that is elsewhere", pools: "10.0.0.0/16", last: "192.0.2.0/24 fd00::/64", want: "a 10.0.0.0/24\nb 10.0.1.0/24\nc 10.0.2.0/24"},
		{name: "not what is taken", pools: "10.0.0.0/16", taken: "10.0.1.0/24 10.0.0.0/24 10.0.3.0/24", want: "a 10.0.2.0/24\nb 10.0.4.0/24\nc 10.0.5.0/24"},
		{name: "taken: a part of one, two that overlap, some outside, one twice", pools: "10.0.0.0/16", taken: "10.0.0.128/25 10.0.1.0/24 10.0.1.0/25 192.0.2.0/24 10.0.2.5/32 10.0.1.0/24", want: "a 10.0.3.0/24\nb 10.0.4.0/24\nc 10.0.5.0/24"},
		{name: "taken: more than a pool", pools: "10.0.0.0/24 172.16.0.0/22", taken: "10.0.0.0/8", want: "a 172.16.0.0/24\nb 172.16.1.0/24\nc 172.16.2.0/24"},
		{name: "taken: everything", pools: "10.0.0.0/16", taken: "0.0.0.0/0", want: "full 10.0.0.0/16"},
		{name: "taken: with bits behind the length, and mapped", pools: "10.0.0.0/16", taken: "10.0.0.77/24 ::ffff:10.0.1.0/120", want: "a 10.0.2.0/24\nb 10.0.3.0/24\nc 10.0.4.0/24"},
		{name: "one family is full: nobody gets half", pools: "10.0.0.0/16 fd00::/63", want: "a 10.0.0.0/24 fd00::/64\nb 10.0.1.0/24 fd00:0:0:1::/64\nfull fd00::/63"},
		{name: "to the end of all addresses", pools: "255.255.254.0/23 ffff:ffff:ffff:fffe::/63", want: "a 255.255.254.0/24 ffff:ffff:ffff:fffe::/64\nb 255.255.255.0/24 ffff:ffff:ffff:ffff::/64\nfull 255.255.254.0/23 ffff:ffff:ffff:fffe::/63"},
		{name: "a /64 of 2⁶² parts, most of them taken", pools: "fd00::/64", bits6: 126, taken: "fd00::/65 fd00:0:0:0:8000::/66", want: "a fd00::c000:0:0:0/126\nb fd00::c000:0:0:4/126\nc fd00::c000:0:0:8/126"},
		{name: "a part as large as the pool", pools: "10.0.0.0/24", want: "a 10.0.0.0/24\nfull 10.0.0.0/24"},
		{name: "no pools", want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := pools(t, c.pools, max(c.bits4, 24), max(c.bits6, 64))
			d := made.Assign(ranges.State{Taken: prefixes(c.taken), Last: prefixes(c.last)}, []string{"a", "b", "c"})
			var lines []string
			for _, node := range []string{"a", "b", "c"} {
				if given, ok := d.Given[node]; ok {
					lines = append(lines, node+" "+strings.Trim(fmt.Sprint(given), "[]"))
				}
			}
			if len(d.Full) > 0 {
				lines = append(lines, "full "+strings.Trim(fmt.Sprint(d.Full), "[]"))
			}
			if diff := cmp.Diff(c.want, strings.Join(lines, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPoolsThatCannotWork(t *testing.T) {
	for _, c := range []struct {
		pools        string
		bits4, bits6 int
		want         string // a part of the error; empty: none
	}{
		{"10.0.0.0/16 fd00::/56", 24, 64, ""},
		{"10.0.0.0/25", 24, 64, "a node's range with a prefix of 24 bits does not fit into 10.0.0.0/25"},
		{"fd00::/65", 24, 64, "a node's range with a prefix of 64 bits does not fit into fd00::/65"},
		{"10.0.0.0/16", 31, 64, "a node's range of 10.0.0.0/16 may have a prefix of 30 bits at most, not 31"},
		{"fd00::/64", 24, 127, "of 126 bits at most, not 127"},
		{"10.0.0.0/8 fd00::/56 10.1.0.0/16", 24, 64, "10.0.0.0/8 and 10.1.0.0/16 overlap"},
		{"::ffff:10.0.0.0/112", 24, 120, "is a range of IPv4 in the notation of IPv6"},
	} {
		_, err := ranges.New(prefixes(c.pools), c.bits4, c.bits6)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, %d and %d: %v, want %q", c.pools, c.bits4, c.bits6, err, c.want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct{ name, all, want string }{
		{"none", "a 10.0.0.0/24 b 10.0.1.0/24 c fd00::/64", ""},
		{"equal ones", "a 10.0.0.0/24 b 10.0.0.0/24", "a b, b a"},
		{"one within another, and one behind", "a 10.0.0.0/16 b 10.0.3.0/24 c 10.0.9.0/24", "a b, a c, b a, c a"},
		{"of one node", "a 10.0.0.0/16 a 10.0.3.0/24", ""},
		{"behind one that ends", "a 10.0.0.0/16 b 10.0.3.0/24 c 10.1.0.0/16", "a b, b a"},
		{"beside one's own", "a 10.0.0.0/16 b 10.0.0.0/16 a 10.0.0.0/24", "a b, a b, b a, b a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []ranges.Owned
			words := strings.Fields(c.all)
			for i := 0; i < len(words); i += 2 {
				all = append(all, ranges.Owned{Node: words[i], Range: netip.MustParsePrefix(words[i+1])})
			}
			var got []string
			for _, overlap := range ranges.Overlaps(all) {
				got = append(got, overlap.Of.Node+" "+overlap.With.Node)
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Whatever nodes come and go: no range overlaps with another, a node gets one as long as
// counting finds one that is free, and none is given again before all others that were free
// meanwhile.
func TestAnyHistory(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		made := pools(t, "10.0.0.0/28 10.1.0.0/29 fd00::/61", 30, 64) // 4 + 2, and 8
		h := history{made: made, before: map[netip.Prefix][]netip.Prefix{}, taken: map[string][]netip.Prefix{
			"foreign": prefixes([]string{"10.1.0.0/31", "10.0.0.4/29", "192.0.2.0/24", "fd00::/63"}[random.IntN(4)]),
		}}
		for step := range 100 {
			if err := h.step(fmt.Sprint("n", random.IntN(8))); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
		}
	}
}

// history is what nodes have.
type history struct {
	made  ranges.Pools
	taken map[string][]netip.Prefix
	last  []netip.Prefix
	// before are the ranges that were free when one was given, and have not been given since.
	before map[netip.Prefix][]netip.Prefix
}

// step removes a node if it is there, and else adds it.
func (h *history) step(node string) error {
	if _, ok := h.taken[node]; ok {
		delete(h.taken, node)
		return nil
	}
	unused := free(h.made, h.taken)
	d := h.made.Assign(ranges.State{Taken: concat(h.taken), Last: h.last}, []string{node})
	space := slices.ContainsFunc(unused, func(p netip.Prefix) bool { return p.Addr().Is4() }) &&
		slices.ContainsFunc(unused, func(p netip.Prefix) bool { return p.Addr().Is6() })
	given, ok := d.Given[node]
	if ok != space || ok == (len(d.Full) > 0) {
		return fmt.Errorf("given %v, full %v, free were %v", given, d.Full, unused)
	}
	for _, each := range given {
		if !slices.Contains(unused, each) {
			return fmt.Errorf("%s is given, free were %v", each, unused)
		}
		if at := slices.IndexFunc(h.before[each], func(p netip.Prefix) bool { return slices.Contains(unused, p) }); at >= 0 {
			return fmt.Errorf("%s is given again before %s", each, h.before[each][at])
		}
		h.before[each] = slices.DeleteFunc(slices.Clone(unused), func(p netip.Prefix) bool {
			return p == each || p.Addr().Is4() != each.Addr().Is4()
		})
		for other, waiting := range h.before {
			h.before[other] = slices.DeleteFunc(waiting, func(p netip.Prefix) bool { return p == each })
		}
	}
	if ok {
		h.taken[node] = given
	}
	h.last = d.Last
	return nil
}

func concat(taken map[string][]netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, each := range taken {
		all = append(all, each...)
	}
	return all
}

// free counts out the free parts of pools.
func free(pools ranges.Pools, taken map[string][]netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, pool := range pools {
		for number := range 1 << (pool.Bits - pool.Range.Bits()) {
			bytes := pool.Range.Addr().As16()
			if pool.Range.Addr().Is4() {
				bytes[15] += byte(number << (32 - pool.Bits))
			} else {
				bytes[7] += byte(number)
			}
			part := netip.PrefixFrom(netip.AddrFrom16(bytes).Unmap(), pool.Bits)
			if !slices.ContainsFunc(concat(taken), part.Overlaps) {
				all = append(all, part)
			}
		}
	}
	return all
}

// BenchmarkAssign is the decision for 5,000 nodes that start at once, beside 5,000 that have
// ranges.
func BenchmarkAssign(b *testing.B) {
	made := pools(b, "10.0.0.0/9 fd00::/40", 24, 64)
	var asking []string
	for i := range 5000 {
		asking = append(asking, fmt.Sprint("node-", i))
	}
	taken := concat(made.Assign(ranges.State{}, asking).Given)
	for b.Loop() {
		if d := made.Assign(ranges.State{Taken: taken}, asking); len(d.Given) != len(asking) {
			b.Fatalf("%d nodes have a range", len(d.Given))
		}
	}
}
