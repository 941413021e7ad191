package nft

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// change is what must happen to a table.
type change struct {
	counters, oldCounters []string
	sets                  []Set
	oldSets               []string // also those that are made again
	chains                []*chainContent
	oldChains             []string           // also those that are made again
	rules                 []*chainContent    // whose rules are written
	flushed               []string           // whose rules are deleted first
	added, removed        []elementsOfOneSet // by set
}

type elementsOfOneSet struct {
	set      Set
	elements []*Element
}

// compare finds the difference between what is wanted and what the kernel has:
// in what was touched, or in everything.
func (w *wanted) compare(have *content, t *touched, everything bool) *change {
	c := new(change)
	if everything || w.remakes(have, t) {
		t = w.everything(have)
	}
	for _, name := range slices.Sorted(maps.Keys(t.counters)) {
		switch want := w.counters[name].len() > 0; {
		case want && !have.counters[name]:
			c.counters = append(c.counters, name)
		case !want && have.counters[name]:
			c.oldCounters = append(c.oldCounters, name)
		}
	}
	remade := w.compareSets(c, have, t)
	w.compareChains(c, have, t, remade)
	for _, name := range names(t.points, t.groups) {
		w.compareElements(c, have, t, name, remade[name])
	}
	return c
}

// remakes says whether a set that exists must be made again. Then all its
// elements, and all rules that name it, are concerned.
func (w *wanted) remakes(have *content, t *touched) bool {
	for name := range t.sets {
		if s, wanted := w.set(name); wanted && have.sets[name] != nil && !have.sets[name].equal(s) {
			return true
		}
	}
	return false
}

// everything touches all that is wanted or there.
func (w *wanted) everything(have *content) *touched {
	t := newTouched()
	touch(t.counters, w.counters, have.counters)
	touch(t.sets, w.sets, have.sets)
	touch(t.chains, w.chains, have.chains)
	for name, s := range w.elements {
		for key := range s.points {
			mark(t.points, name, key)
		}
		for group := range s.groups {
			mark(t.groups, name, group)
		}
	}
	for name, s := range have.sets {
		for key, e := range s.elements {
			if s.Interval {
				group, _ := s.split(*e)
				mark(t.groups, name, group)
			} else {
				mark(t.points, name, key)
			}
		}
	}
	return t
}

// names returns the names in either map, in order.
func names[A, B any](a map[string]A, b map[string]B) []string {
	all := map[string]bool{}
	touch(all, a, b)
	return slices.Sorted(maps.Keys(all))
}

func touch[A, B any](t map[string]bool, want map[string]A, have map[string]B) {
	for name := range want {
		t[name] = true
	}
	for name := range have {
		t[name] = true
	}
}

// compareSets returns the sets that are new or made again: they begin empty.
func (w *wanted) compareSets(c *change, have *content, t *touched) map[string]bool {
	remade := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(t.sets)) {
		want, wanted := w.set(name)
		had := have.sets[name]
		if had != nil && (!wanted || !had.equal(want)) {
			c.oldSets = append(c.oldSets, name)
		}
		if wanted && (had == nil || !had.equal(want)) {
			c.sets = append(c.sets, want)
			remade[name] = true
		}
	}
	return remade
}

func (w *wanted) compareChains(c *change, have *content, t *touched, remade map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(t.chains)) {
		want, _ := w.chains[name].first()
		had := have.chains[name]
		again := want == nil || had == nil || had.head() != want.head()
		if !again && had.rules == want.rules && !want.names(remade) {
			continue
		}
		if had != nil && len(had.Rules) > 0 {
			c.flushed = append(c.flushed, name)
		}
		if had != nil && again {
			c.oldChains = append(c.oldChains, name)
		}
		if want == nil {
			continue
		}
		if again {
			c.chains = append(c.chains, want)
		}
		c.rules = append(c.rules, want)
	}
}

// names says whether a rule uses one of the sets.
func (c *chainContent) names(sets map[string]bool) bool {
	if len(sets) == 0 {
		return false
	}
	for _, rule := range c.Rules {
		for _, e := range rule.Do {
			switch e := e.(type) {
			case Lookup:
				if sets[e.Set] {
					return true
				}
			case WriteSet:
				if sets[e.Set] {
					return true
				}
			}
		}
	}
	return false
}

func (w *wanted) compareElements(c *change, have *content, t *touched, name string, remade bool) {
	set, wanted := w.set(name)
	if !wanted || set.Dynamic {
		return
	}
	had := map[Value]*Element{}
	if s := have.sets[name]; s != nil && !remade {
		had = s.elements
	}
	add, remove := elementsOfOneSet{set: set}, elementsOfOneSet{set: set}
	for key := range t.points[name] {
		if set.Interval {
			break
		}
		old, exists := had[key]
		want := w.point(name, key)
		if exists && want != nil && old.same(want) {
			had[key] = want // so that the part of before can go
			continue
		}
		if exists {
			remove.elements = append(remove.elements, old)
		}
		if want != nil {
			add.elements = append(add.elements, want)
		}
	}
	if set.Interval && len(t.groups[name]) > 0 {
		w.compareRanges(&add, &remove, had, t.groups[name])
	}
	if len(add.elements) > 0 {
		c.added = append(c.added, add)
	}
	if len(remove.elements) > 0 {
		c.removed = append(c.removed, remove)
	}
}

func (w *wanted) point(set string, key Value) *Element {
	if s := w.elements[set]; s != nil {
		if want, ok := s.points[key].first(); ok {
			return want
		}
	}
	return nil
}

// compareRanges compares the merged ranges of groups.
func (w *wanted) compareRanges(add, remove *elementsOfOneSet, had map[Value]*Element, groups map[Value]bool) {
	want := map[Value]*Element{}
	for group := range groups {
		if s := w.elements[add.set.Name]; s != nil {
			for _, e := range merge(group, s.groups[group]) {
				want[e.Key] = &e
				if old, exists := had[e.Key]; !exists || old.End != e.End {
					add.elements = append(add.elements, &e)
				}
			}
		}
	}
	for key, old := range had {
		if group, _ := add.set.split(*old); groups[group] && (want[key] == nil || want[key].End != old.End) {
			remove.elements = append(remove.elements, old)
		}
	}
}

// write appends the messages. What goes comes first: the kernel then sees
// nothing in use or twice, and packets see only the whole.
func (c *change) write(w *writer) {
	for _, name := range c.flushed {
		w.flushChain(name)
	}
	for _, r := range c.removed {
		if r.set.Timed {
			w.elements(unix.NFT_MSG_NEWSETELEM, r.set, r.elements) // one may have run out
		}
		w.elements(unix.NFT_MSG_DELSETELEM, r.set, r.elements)
	}
	for _, name := range c.oldSets {
		w.deleteSet(name)
	}
	for _, name := range c.oldChains {
		w.deleteChain(name)
	}
	for _, name := range c.oldCounters {
		w.counter(name, unix.NFT_MSG_DELOBJ)
	}
	for _, name := range c.counters {
		w.counter(name, unix.NFT_MSG_NEWOBJ)
	}
	for _, s := range c.sets {
		w.newSet(s)
	}
	for _, chain := range c.chains {
		w.newChain(chain.Chain)
	}
	for _, chain := range c.rules {
		w.newRules(chain.Chain)
	}
	for _, a := range c.added {
		w.elements(unix.NFT_MSG_NEWSETELEM, a.set, a.elements)
	}
}

// done makes have what it is after the change.
func (c *change) done(have *content) {
	for _, r := range c.removed {
		for _, e := range r.elements {
			delete(have.sets[r.set.Name].elements, e.Key)
		}
	}
	for _, name := range c.oldSets {
		delete(have.sets, name)
	}
	for _, name := range c.oldChains {
		delete(have.chains, name)
	}
	for _, name := range c.oldCounters {
		delete(have.counters, name)
	}
	for _, name := range c.counters {
		have.counters[name] = true
	}
	for _, s := range c.sets {
		have.sets[s.Name] = &setContent{s, map[Value]*Element{}}
	}
	for _, chain := range c.rules {
		have.chains[chain.Name] = chain
	}
	for _, a := range c.added {
		for _, e := range a.elements {
			have.sets[a.set.Name].elements[e.Key] = e
		}
	}
}
