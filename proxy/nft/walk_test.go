package nft_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// However a table got to its parts, it equals a fresh one with them.
func TestAnyHistoryEndsInAFreshTable(t *testing.T) {
	for _, options := range []nft.Options{{}, {WithoutOwner: true}} {
		seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number
		random := rand.New(rand.NewPCG(seed, 0))
		table := small("walked")
		k := table.Key()
		e := open(t, options, table)
		want := map[nft.Key]nft.Part{}
		for step := range 60 {
			for range random.IntN(4) {
				key := nft.Key(fmt.Sprint(random.IntN(6)))
				want[key] = randomPart(random)
				submit(t, e, k, key, want[key])
			}
			switch random.IntN(6) {
			case 0:
				e = restart(t, e, options, table, want, random)
			case 1:
				if options.WithoutOwner {
					vandalise(t, random)
				}
			}
			commit(t, e)
			if step%5 != 0 {
				continue
			}
			if diff := cmp.Diff(fresh(t, want), body(t, k)); diff != "" {
				t.Fatalf("seed %d step %d (-fresh +walked):\n%s", seed, step, diff)
			}
		}
		if err := e.Remove(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
}

func restart(t *testing.T, e *nft.Engine, options nft.Options, table nft.Table, want map[nft.Key]nft.Part, random *rand.Rand) *nft.Engine {
	commit(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, options, table)
	for key, part := range want {
		if random.IntN(2) == 0 {
			commit(t, e) // some keys come later
		}
		submit(t, e, table.Key(), key, part)
	}
	complete(t, e, table.Key())
	return e
}

// vandalise does what an ignorant neighbour does. What it names may be missing.
func vandalise(t *testing.T, random *rand.Rand) {
	all := [][]string{
		{"flush", "ruleset"},
		{"flush", "set", "ip", "walked", "networks"},
		{"flush", "chain", "ip", "walked", "input"},
		{"add", "element", "ip", "walked", "addresses", "{ 192.0.2.1 }"},
		{"add", "rule", "ip", "walked", "input", "counter"},
	}
	_, _ = try(t.Context(), all[random.IntN(len(all))]...)
}

func randomPart(random *rand.Rand) nft.Part {
	var p nft.Part
	add := func(set string, e nft.Element) {
		if p.Elements == nil {
			p.Elements = map[string][]nft.Element{}
		}
		p.Elements[set] = append(p.Elements[set], e)
	}
	for range random.IntN(4) {
		add("addresses", nft.Element{Key: randomAddr(random)})
	}
	for range random.IntN(4) {
		add("networks", nft.Prefix(randomPrefix(random)))
	}
	for range random.IntN(3) {
		add("flows", nft.Prefix(randomPrefix(random), nft.Port(uint16(80+random.IntN(2))))) //nolint:gosec // few
	}
	for range random.IntN(3) {
		n := random.IntN(3)
		chain := nft.Chain{Name: fmt.Sprintf("chain-%d", n), Rules: []nft.Rule{rule(nft.Is(nft.Dport(), nft.Port(uint16(n))), nft.Drop())}} //nolint:gosec // few
		if random.IntN(4) == 0 {
			chain.Rules = append(chain.Rules, rule(nft.Accept())) // another one of that name
		}
		p.Chains = append(p.Chains, chain)
		add("verdicts", nft.Element{Key: randomAddr(random), Verdict: nft.Goto(chain.Name)})
		if random.IntN(2) == 0 {
			s := nft.Set{Name: fmt.Sprintf("set-%d", n), Key: nft.Type{nft.InetService}}
			p.Sets = append(p.Sets, s)
			add(s.Name, nft.Element{Key: nft.Port(uint16(random.IntN(5)))}) //nolint:gosec // few
		}
	}
	return p
}

func randomAddr(random *rand.Rand) nft.Value {
	return addr(fmt.Sprintf("10.0.0.%d", random.IntN(8)))
}

func randomPrefix(random *rand.Rand) netip.Prefix {
	edges := []string{"0.0.0.0", "255.255.255.255", "10.0.0.0", "10.0.0.255", "10.0.1.0"}
	a := netip.MustParseAddr(edges[random.IntN(len(edges))])
	bits := []int{0, 1, 8, 23, 24, 25, 30, 31, 32, 32}
	return netip.PrefixFrom(a, bits[random.IntN(len(bits))]).Masked()
}

// fresh is what a table of these parts looks like that has no history.
func fresh(t *testing.T, want map[nft.Key]nft.Part) string {
	table := small("fresh")
	e := open(t, nft.Options{}, table)
	for key, part := range want {
		submit(t, e, table.Key(), key, part)
	}
	commit(t, e)
	listing := body(t, table.Key())
	if err := e.Remove(t.Context(), table.Key()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return listing
}
