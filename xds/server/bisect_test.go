package server

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// All culprits are found, no other suspect is blamed, and it takes few refusals.
func TestBisectionFindsTheCulprits(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		suspects := random.Perm(1 + random.IntN(60))
		bad := slices.Clone(suspects[:random.IntN(min(len(suspects), 4)+1)])
		random.Shuffle(len(suspects), func(i, j int) { suspects[i], suspects[j] = suspects[j], suspects[i] })
		isBad := func(suspect int) bool { return slices.Contains(bad, suspect) }

		var b bisection[int]
		b.test(suspects)
		late := 1000 // comes while the others are tested
		var found, accepted []int
		refusals := 0
		for b.isRunning() {
			if refusals == 2 && !slices.Contains(accepted, late) && !slices.Contains(slices.Concat(b.groups...), late) {
				b.postpone(late)
			}
			group := b.testing()
			if !slices.ContainsFunc(group, isBad) {
				accepted = append(accepted, group...)
				b.next()
				continue
			}
			refusals++
			culprit, is, postponed := b.refused()
			switch {
			case is:
				found = append(found, culprit)
			case len(postponed) == 0 || !slices.Equal(b.waiting()[0], postponed):
				t.Fatalf("seed %d: of %v, %v are postponed", seed, group, postponed)
			}
		}
		slices.Sort(bad)
		if slices.Sort(found); !slices.Equal(found, bad) {
			t.Errorf("seed %d: found %v, want %v", seed, found, bad)
		}
		if refusals >= 2 {
			suspects = append(suspects, late)
		}
		slices.Sort(suspects)
		if all := slices.Sorted(slices.Values(append(accepted, found...))); !slices.Equal(all, suspects) {
			t.Errorf("seed %d: judged are %v, want %v", seed, all, suspects)
		}
		if most := len(bad) * (1 + bits.Len(uint(len(suspects)))); refusals > most {
			t.Errorf("seed %d: it took %d refusals to find %d of %d, want %d at most", seed, refusals, len(bad), len(suspects), most)
		}
	}
}

// A culprit that was found leaves an empty group behind: Envoy accepts what is left, or
// refuses it for a reason that is sought anew among others.
func TestBisectionGoesOnAfterACulprit(t *testing.T) {
	var b bisection[string]
	if b.isRunning() || b.testing() != nil || b.next() {
		t.Error("the zero value has suspects")
	}
	b.test([]string{"a", "b"})
	b.refused()
	if culprit, found, _ := b.refused(); !found || culprit != "a" {
		t.Errorf("found %t: %q", found, culprit)
	}
	if !b.isRunning() || len(b.testing()) > 0 {
		t.Errorf("testing %q, want an empty group", b.testing())
	}
	b.test([]string{"c"})
	if culprit, found, _ := b.refused(); !found || culprit != "c" {
		t.Errorf("found %t: %q", found, culprit)
	}
	if !b.next() || !slices.Equal(b.testing(), []string{"b"}) {
		t.Errorf("testing %q, want b", b.testing())
	}
	if b.next() {
		t.Error("it goes on without suspects")
	}
}
