package nft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever many claimants want, and in whatever order: the smallest has it, and the losers are
// the others, in order.
func TestClaims(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	var c claims[int]
	model := map[claimant]int{}
	for step := range 20000 {
		who := claimant{rank(random.IntN(3)), Key(fmt.Sprint(random.IntN(60)))}
		if random.IntN(60) < len(model) || step > 18000 { // they come and go, and at last all go
			c = c.without(who)
			delete(model, who)
		} else {
			c = c.with(who, step)
			model[who] = step
		}
		all := make([]claimant, 0, len(model))
		for who := range model {
			all = append(all, who)
		}
		slices.SortFunc(all, claimant.compare)
		got, want, ok := c.winner()
		if c.len() != len(model) || ok != (len(all) > 0) {
			t.Fatalf("step %d: %d claimants, %v; want %d", step, c.len(), ok, len(model))
		}
		if ok && (got != all[0] || want != model[all[0]]) {
			t.Fatalf("step %d: %v has it, want %v", step, got, all[0])
		}
		if step%100 != 0 {
			continue
		}
		var losers []claimant
		c.losers(func(who claimant, want int) {
			if want != model[who] {
				t.Errorf("step %d: %v wants %d, not %d", step, who, want, model[who])
			}
			losers = append(losers, who)
		})
		if !slices.Equal(losers, all[min(1, len(all)):]) {
			t.Fatalf("step %d: losers %v of %v", step, losers, all)
		}
	}
}

// A key of a crowd hears of its conflict when it comes, and all do when what they are compared
// with changes.
func TestConflictsOfACrowd(t *testing.T) {
	var c claims[int]
	var keys []Key
	for i := range 30 {
		key := Key(fmt.Sprintf("k%02d", i))
		keys = append(keys, key)
		c = c.with(claimant{submitted, key}, 1)
	}
	same := func(a, b int) bool { return a == b }
	judge := func(by ...Key) int {
		return len(conflicts(TableKey{}, by, c, same, func(int) string { return "it" }))
	}
	if n := judge(keys...); n != 0 {
		t.Errorf("%d conflicts of those who want the same", n)
	}
	c = c.with(claimant{submitted, "k07"}, 2)
	if n := judge("k07"); n != 1 {
		t.Errorf("%d conflicts, want that of k07", n)
	}
	if n := judge("k08"); n != 0 {
		t.Errorf("%d conflicts of a key that wants the same", n)
	}
	c = c.with(claimant{rank: skeleton}, 2)
	if n := judge("k08"); n != 29 {
		t.Errorf("%d conflicts after the skeleton wants what k07 wants; want 29", n)
	}
}
