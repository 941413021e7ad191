package nft_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/proxy/nft"
)

func TestOthersCannotTouchAnOwnedTable(t *testing.T) {
	table := small("owned")
	k := table.Key()
	e := open(t, nft.Options{}, table)
	submit(t, e, k, "a", addresses("10.0.0.1"))
	commit(t, e)
	run(t, "flush", "ruleset")
	expect(t, k, "10.0.0.1")
	if out, err := try(t.Context(), "delete", "element", "ip", "owned", "addresses", "{ 10.0.0.1 }"); err == nil {
		t.Errorf("an element was deleted: %s", out)
	}
	if changes, err := e.Check(t.Context()); err != nil || len(changes) > 0 {
		t.Errorf("check: %v %v", changes, err)
	}

	next := open(t, nft.Options{}, table)
	submit(t, next, k, "a", addresses("10.0.0.2"))
	complete(t, next, k)
	if _, err := next.Commit(t.Context()); !errors.Is(err, nft.ErrOwned) {
		t.Errorf("commit while another owns the table: %v", err)
	}
	expect(t, k, "10.0.0.1")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	commit(t, next)
	expect(t, k, "!10.0.0.1", "10.0.0.2")
	run(t, "flush", "ruleset")
	expect(t, k, "10.0.0.2")
}

func TestWhatOthersChangeIsPutBackAndTold(t *testing.T) {
	table := small("open")
	k := table.Key()
	e := open(t, nft.Options{WithoutOwner: true}, table)
	submit(t, e, k, "a", verdict("10.0.0.1", "mine", rule(nft.Drop())))
	submit(t, e, k, "b", addresses("10.0.0.2", "10.0.0.3"))
	submit(t, e, k, "c", nft.Part{Elements: map[string][]nft.Element{"networks": {prefix("10.2.0.0/16")}}})
	commit(t, e)
	before := list(t, k)
	for _, test := range []struct{ do, told string }{
		{"flush ruleset", "the table is missing"},
		{"delete element ip open addresses { 10.0.0.2 }", "set addresses: 1 elements are missing"},
		{"add element ip open addresses { 10.0.0.9 }", "set addresses: 1 elements are not ours"},
		{"flush set ip open networks", "set networks: 1 elements are missing"},
		{"flush chain ip open mine", "chain mine is not as it was"},
		{"add rule ip open input accept", "chain input is not as it was"},
		{"add chain ip open theirs", "chain theirs is not ours"},
		{"add set ip open theirs { type ipv4_addr ; }", "set theirs is not ours"},
		{"add counter ip open theirs", "counter theirs is not ours"},
		{"add table ip6 unrelated", ""},
	} {
		run(t, strings.Fields(test.do)...)
		changes, err := e.Check(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", test.do, err)
		}
		told := slices.ContainsFunc(changes, func(c nft.Change) bool { return c.Table == k && c.What == test.told })
		if told != (test.told != "") || test.told == "" && len(changes) > 0 {
			t.Errorf("%s: told %v, want %q", test.do, changes, test.told)
		}
		if after := list(t, k); after != before {
			t.Errorf("%s: not put back:\n%s", test.do, after)
		}
	}
	run(t, "delete", "table", "ip6", "unrelated")
	if changes, err := e.Check(t.Context()); err != nil || len(changes) > 0 {
		t.Errorf("check: %v %v", changes, err)
	}
	// A commit sees it, too.
	run(t, "delete", "table", "ip", "open")
	if result := commit(t, e); len(result.Changes) != 1 {
		t.Errorf("changes: %v", result.Changes)
	}
	if after := list(t, k); after != before {
		t.Errorf("not put back:\n%s", after)
	}
}

func TestALargeBatchIsOneCommit(t *testing.T) {
	table := small("large")
	k := table.Key()
	e := open(t, nft.Options{}, table)
	for i := range 3000 {
		submit(t, e, k, nft.Key(fmt.Sprint(i)), verdict(fmt.Sprintf("10.1.%d.%d", i/250, i%250), fmt.Sprintf("chain-%d", i), rule(nft.Drop())))
	}
	var many []string
	for i := range 10000 {
		many = append(many, fmt.Sprintf("10.2.%d.%d", i/250, i%250))
	}
	submit(t, e, k, "many", addresses(many...))
	result := commit(t, e)
	if result.Messages < 6000 {
		t.Errorf("%d messages", result.Messages)
	}
	if n := strings.Count(list(t, k), "10.2."); n != len(many) {
		t.Errorf("%d elements, want %d", n, len(many))
	}
	if result := commit(t, e); result.Messages != 0 {
		t.Errorf("%d messages for nothing", result.Messages)
	}
}
