package nft_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// small is a table with one set of each kind.
func small(name string) nft.Table {
	return nft.Table{
		Family: nft.IPv4, Name: name, Version: 1,
		Sets: []nft.Set{
			{Name: "addresses", Key: nft.Type{nft.IPv4Addr}},
			{Name: "verdicts", Key: nft.Type{nft.IPv4Addr}, Value: nft.Type{nft.Verdicts}},
			{Name: "networks", Key: nft.Type{nft.IPv4Addr}, Interval: true},
			{Name: "flows", Key: nft.Type{nft.InetService, nft.IPv4Addr}, Interval: true},
		},
		Chains: []nft.Chain{
			{Name: "input", Hook: &nft.Hook{Type: nft.Filter, Point: nft.Input}, Rules: []nft.Rule{
				rule(nft.VMap("verdicts", nft.Saddr(nft.IPv4))),
				rule(nft.In("networks", nft.Saddr(nft.IPv4)), nft.In("addresses", nft.Daddr(nft.IPv4)), nft.Drop()),
			}},
		},
	}
}

func addresses(all ...string) nft.Part {
	var list []nft.Element
	for _, a := range all {
		list = append(list, nft.Element{Key: addr(a)})
	}
	return nft.Part{Elements: map[string][]nft.Element{"addresses": list}}
}

// verdict is a part with a chain that its element names.
func verdict(address, chain string, rules ...nft.Rule) nft.Part {
	return nft.Part{
		Chains:   []nft.Chain{{Name: chain, Rules: rules}},
		Elements: map[string][]nft.Element{"verdicts": {{Key: addr(address), Verdict: nft.Goto(chain)}}},
	}
}

func list(t testing.TB, k nft.TableKey) string {
	t.Helper()
	return sorted(run(t, "-s", "list", "table", k.Family.String(), k.Name))
}

func expect(t *testing.T, k nft.TableKey, words ...string) {
	t.Helper()
	listing := list(t, k)
	for _, w := range words {
		want := !strings.HasPrefix(w, "!")
		if strings.Contains(listing, strings.TrimPrefix(w, "!")) != want {
			t.Errorf("want %q in\n%s", w, listing)
		}
	}
}

func TestAPartIsReplacedWhole(t *testing.T) {
	table := small("whole")
	k := table.Key()
	e := open(t, nft.Options{}, table)
	submit(t, e, k, "a", addresses("10.0.0.1", "10.0.0.2"))
	commit(t, e)
	submit(t, e, k, "a", addresses("10.0.0.2", "10.0.0.3"))
	commit(t, e)
	expect(t, k, "!10.0.0.1", "10.0.0.2", "10.0.0.3")
	submit(t, e, k, "a", nft.Part{})
	commit(t, e)
	expect(t, k, "!10.0.0.")
}

func TestACommitCostsWhatItTouches(t *testing.T) {
	table := small("cost")
	k := table.Key()
	e := open(t, nft.Options{}, table)
	for i := range 1000 {
		submit(t, e, k, nft.Key(fmt.Sprint(i)), verdict(fmt.Sprintf("10.1.%d.%d", i/250, i%250), "shared", rule(nft.Drop())))
	}
	commit(t, e)
	for _, test := range []struct {
		name string
		part nft.Part
		want int
	}{
		{"the same again", verdict("10.1.0.7", "shared", rule(nft.Drop())), 0},
		{"another element", verdict("10.9.0.7", "shared", rule(nft.Drop())), 2},
		{"another chain: delete and add the element, make the chain and its rule", verdict("10.9.0.7", "own", rule(nft.Accept())), 4},
		{"another rule: flush the chain, and write the rule", verdict("10.9.0.7", "own", rule(nft.Return())), 2},
		{"nothing: delete the element, flush and delete the chain", nft.Part{}, 3},
	} {
		submit(t, e, k, "7", test.part)
		if got := commit(t, e).Messages; got != test.want {
			t.Errorf("%s: %d messages, want %d", test.name, got, test.want)
		}
	}
}

func TestASharedElementGoesWithItsLastKey(t *testing.T) {
	table := small("shared")
	k := table.Key()
	e := open(t, nft.Options{}, table)
	submit(t, e, k, "a", addresses("10.0.0.1"))
	submit(t, e, k, "b", addresses("10.0.0.1"))
	commit(t, e)
	submit(t, e, k, "a", nft.Part{})
	commit(t, e)
	expect(t, k, "10.0.0.1")
	submit(t, e, k, "b", nft.Part{})
	commit(t, e)
	expect(t, k, "!10.0.0.1")
}

func TestTheSmallestKeyWinsAConflict(t *testing.T) {
	for _, order := range [][]nft.Key{{"a", "b"}, {"b", "a"}} {
		table := small("conflict")
		k := table.Key()
		e := open(t, nft.Options{}, table)
		parts := map[nft.Key]nft.Part{
			"a": verdict("10.0.0.1", "chain-a", rule(nft.Drop())),
			"b": verdict("10.0.0.1", "chain-b", rule(nft.Drop())),
		}
		var conflicts []nft.Conflict
		for _, key := range order {
			submit(t, e, k, key, parts[key])
			conflicts = append(conflicts, commit(t, e).Conflicts...)
		}
		expect(t, k, "10.0.0.1 : goto chain-a")
		want := nft.Conflict{Table: k, Key: "b", With: "a", What: "element 10.0.0.1 : goto chain-b of set verdicts"}
		if len(conflicts) != 1 || conflicts[0] != want {
			t.Errorf("conflicts %v, want %v", conflicts, want)
		}
		submit(t, e, k, "a", nft.Part{})
		commit(t, e)
		expect(t, k, "10.0.0.1 : goto chain-b")
		if err := e.Remove(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
}

func TestARefusedKeyCostsOnlyItself(t *testing.T) {
	table := small("refused")
	k := table.Key()
	e := open(t, nft.Options{}, table)
	submit(t, e, k, "bad", addresses("10.0.0.99"))
	commit(t, e)
	for i := range 50 {
		submit(t, e, k, nft.Key(fmt.Sprintf("good-%d", i)), addresses(fmt.Sprintf("10.0.1.%d", i)))
	}
	submit(t, e, k, "bad", verdict("10.0.0.98", "loop", rule(nft.Jump("nowhere"))))
	// Two keys that only work together.
	submit(t, e, k, "after", nft.Part{Elements: map[string][]nft.Element{"verdicts": {{Key: addr("10.0.3.1"), Verdict: nft.Goto("of-zzz")}}}})
	submit(t, e, k, "zzz", verdict("10.0.3.2", "of-zzz", rule(nft.Drop())))
	result, err := e.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Refused) != 1 || result.Refused[0].Key != "bad" || !strings.Contains(result.Refused[0].Err.Error(), "rule 1 of chain loop") {
		t.Errorf("refused: %v", result.Refused)
	}
	expect(t, k, "10.0.0.99", "!10.0.0.98", "10.0.1.0", "10.0.1.49", "10.0.3.1 : goto of-zzz")
}

func TestASkeletonThatTheKernelRefusesIsAnError(t *testing.T) {
	table := small("bad")
	table.Chains[0].Rules = append(table.Chains[0].Rules, rule(nft.Jump("nowhere")))
	e := open(t, nft.Options{}, table)
	submit(t, e, table.Key(), "a", addresses("10.0.0.1"))
	if _, err := e.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "rule 3 of chain input of table ip bad") {
		t.Errorf("commit: %v", err)
	}
}

func TestTheNextEngineAdopts(t *testing.T) {
	table := small("adopted")
	k := table.Key()
	first := open(t, nft.Options{}, table)
	submit(t, first, k, "a", verdict("10.0.0.1", "chain-a", rule(nft.Drop())))
	submit(t, first, k, "b", verdict("10.0.0.2", "chain-b", rule(nft.Drop())))
	submit(t, first, k, "c", nft.Part{Elements: map[string][]nft.Element{"networks": {prefix("10.2.0.0/16")}}})
	commit(t, first)
	before := list(t, k)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, nft.Options{}, table)
	submit(t, second, k, "a", verdict("10.0.0.1", "chain-a", rule(nft.Drop())))
	submit(t, second, k, "c", nft.Part{Elements: map[string][]nft.Element{"networks": {prefix("10.2.3.0/24")}}})
	commit(t, second)
	if after := list(t, k); after != before {
		t.Errorf("the second engine changed\n%s\nto\n%s", before, after)
	}
	complete(t, second, k)
	commit(t, second)
	expect(t, k, "chain-a", "!chain-b", "10.2.3.0/24", "!10.2.0.0/16")
}

// What was found in a table stays until the table's own parts are written, though a commit of another table
// comes between.
func TestACommitOfAnotherTableRemovesNothing(t *testing.T) {
	table, other := small("complete"), small("other")
	k := table.Key()
	first := open(t, nft.Options{}, table)
	submit(t, first, k, "a", verdict("10.0.0.1", "chain-a", rule(nft.Drop())))
	commit(t, first)
	before := list(t, k)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, nft.Options{}, table, other)
	submit(t, second, k, "a", verdict("10.0.0.1", "chain-a", rule(nft.Drop())))
	complete(t, second, k)
	for _, part := range []nft.Part{addresses("10.0.0.9"), addresses("10.0.0.8")} {
		submit(t, second, other.Key(), "x", part)
		if _, err := second.Commit(t.Context(), other.Key()); err != nil {
			t.Fatal(err)
		}
		if after := list(t, k); after != before {
			t.Errorf("a commit of another table changed\n%s\nto\n%s", before, after)
		}
	}
	submit(t, second, k, "a", nft.Part{})
	if _, err := second.Commit(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	expect(t, k, "!chain-a")
}

func TestANewerTableIsLeftAlone(t *testing.T) {
	newer := small("version")
	newer.Version = 7
	first := open(t, nft.Options{}, newer)
	commit(t, first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	before := list(t, newer.Key())
	second := open(t, nft.Options{}, small("version"))
	if _, err := second.Commit(t.Context()); !errors.Is(err, nft.ErrNewer) {
		t.Errorf("commit: %v", err)
	}
	if after := list(t, newer.Key()); after != before {
		t.Errorf("it was changed to\n%s", after)
	}
}

func TestANewSkeletonKeepsElements(t *testing.T) {
	old := small("skeleton")
	k := old.Key()
	first := open(t, nft.Options{}, old)
	submit(t, first, k, "a", addresses("10.0.0.1"))
	submit(t, first, k, "b", nft.Part{Elements: map[string][]nft.Element{"networks": {prefix("10.2.0.0/16")}}})
	commit(t, first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	table := small("skeleton")
	table.Version = 2
	table.Sets[2] = nft.Set{Name: "networks", Key: nft.Type{nft.IPv4Addr, nft.IPv4Addr}, Interval: true} // another type
	table.Chains[0].Hook.Priority = 5
	table.Chains[0].Rules[1] = rule(nft.In("networks", nft.Saddr(nft.IPv4), nft.Daddr(nft.IPv4)), nft.Drop())
	second := open(t, nft.Options{}, table)
	commit(t, second)
	expect(t, k, "10.0.0.1", "!10.2.0.0", "priority filter + 5", "ip saddr . ip daddr @networks drop", `comment "2"`)
}

func TestSubmitSaysWhatCanNeverBeWritten(t *testing.T) {
	table := small("submit")
	e := open(t, nft.Options{}, table)
	for _, part := range []nft.Part{
		{Elements: map[string][]nft.Element{"unknown": {{Key: addr("10.0.0.1")}}}},
		{Elements: map[string][]nft.Element{"addresses": {{Key: addr("fd00::1")}}}},
		{Elements: map[string][]nft.Element{"addresses": {prefix("10.0.0.0/8")}}},
		{Elements: map[string][]nft.Element{"verdicts": {{Key: addr("10.0.0.1")}}}},
		{Elements: map[string][]nft.Element{"flows": {{Key: nft.Concat(nft.Port(1), addr("10.0.0.1")), End: nft.Concat(nft.Port(2), addr("10.0.0.1"))}}}},
		{Chains: []nft.Chain{{Name: "long", Rules: []nft.Rule{{Comment: strings.Repeat("x", 128)}}}}},
	} {
		if err := e.Submit(table.Key(), "a", part); err == nil {
			t.Errorf("%v is accepted", part)
		}
	}
}

func TestRangesOfKeysMayOverlap(t *testing.T) {
	table := small("ranges")
	k := table.Key()
	e := open(t, nft.Options{}, table)
	network := func(p string) nft.Part {
		flow := nft.Prefix(netip.MustParsePrefix(p), nft.Port(80))
		return nft.Part{Elements: map[string][]nft.Element{"networks": {prefix(p)}, "flows": {flow}}}
	}
	submit(t, e, k, "wide", network("10.0.0.0/16"))
	commit(t, e)
	submit(t, e, k, "narrow", network("10.0.2.2/32"))
	commit(t, e)
	expect(t, k, "{ 10.0.0.0/16 }", "{ 80 . 10.0.0.0/16 }")
	submit(t, e, k, "wide", nft.Part{})
	commit(t, e)
	expect(t, k, "{ 10.0.2.2 }", "{ 80 . 10.0.2.2 }")
	submit(t, e, k, "all", network("0.0.0.0/0"))
	commit(t, e)
	submit(t, e, k, "all", nft.Part{})
	commit(t, e)
	expect(t, k, "{ 10.0.2.2 }", "{ 80 . 10.0.2.2 }")
}
