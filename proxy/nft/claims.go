package nft

import "cmp"

// Key names who wants a Part. Keys of one table differ.
type Key string

// claimant is who claims something: the skeleton before all keys, and what was
// found at the start after them.
type claimant struct {
	rank rank
	key  Key
}

type rank uint8

const (
	skeleton rank = iota
	submitted
	adopted
)

func (c claimant) compare(other claimant) int {
	return cmp.Or(cmp.Compare(c.rank, other.rank), cmp.Compare(c.key, other.key))
}

// wanted is what all parts of a table ask for.
type wanted struct {
	counters map[string]claims[bool]
	sets     map[string]claims[Set]
	chains   map[string]claims[*chainContent]
	elements map[string]*setClaims // by set
}

type setClaims struct {
	// points are elements without a range, by key.
	points map[Value]claims[*Element]
	// groups are the ranges of a set with intervals, by the fields before the last.
	groups map[Value]map[span]claims[struct{}]
}

// span is a range of the last field, with both ends.
type span struct{ first, last Value }

func newWanted() *wanted {
	return &wanted{
		counters: map[string]claims[bool]{}, sets: map[string]claims[Set]{},
		chains: map[string]claims[*chainContent]{}, elements: map[string]*setClaims{},
	}
}

// touched is what claims have changed of, so that only that is compared.
type touched struct {
	counters, sets, chains map[string]bool
	points, groups         map[string]map[Value]bool // by set
}

func newTouched() *touched {
	return &touched{
		counters: map[string]bool{}, sets: map[string]bool{}, chains: map[string]bool{},
		points: map[string]map[Value]bool{}, groups: map[string]map[Value]bool{},
	}
}

func mark(m map[string]map[Value]bool, set string, v Value) {
	if m[set] == nil {
		m[set] = map[Value]bool{}
	}
	m[set][v] = true
}

// printed is a part whose chains are printed once. It has them in place of the part's.
type printed struct {
	Part

	chains   []*chainContent
	counters []string
}

func (w *wanted) set(name string) (Set, bool) {
	return w.sets[name].first()
}

// replace puts the part of a claimant in the place of its earlier one.
func (w *wanted) replace(who claimant, old, part *printed, t *touched) {
	if old != nil {
		w.drop(who, old, t)
	}
	if part != nil {
		w.claim(who, part, t)
	}
}

func (w *wanted) claim(who claimant, p *printed, t *touched) {
	for _, name := range p.counters {
		w.counters[name] = w.counters[name].with(who, true)
		t.counters[name] = true
	}
	for _, s := range p.Sets {
		w.sets[s.Name] = w.sets[s.Name].with(who, s)
		t.sets[s.Name] = true
	}
	for i, c := range p.chains {
		if winner, ok := w.chains[c.Name].first(); ok && winner.equal(c) {
			c = winner // thousands of keys may want it: keep one
			p.chains[i] = c
		}
		w.chains[c.Name] = w.chains[c.Name].with(who, c)
		t.chains[c.Name] = true
	}
	for name, elements := range p.Elements {
		s := w.setOf(name, p)
		if w.elements[name] == nil {
			w.elements[name] = &setClaims{map[Value]claims[*Element]{}, map[Value]map[span]claims[struct{}]{}}
		}
		for i := range elements {
			w.elements[name].claim(who, s, &elements[i], t)
		}
	}
}

func (c *setClaims) claim(who claimant, s Set, e *Element, t *touched) {
	if !s.Interval {
		c.points[e.Key] = c.points[e.Key].with(who, e)
		mark(t.points, s.Name, e.Key)
		return
	}
	group, x := s.split(*e)
	if c.groups[group] == nil {
		c.groups[group] = map[span]claims[struct{}]{}
	}
	c.groups[group][x] = c.groups[group][x].with(who, struct{}{})
	mark(t.groups, s.Name, group)
}

// setOf is the set that elements of the part were made for. Under another key
// the name may mean another set; then the kernel judges them.
func (w *wanted) setOf(name string, p *printed) Set {
	if who, want, ok := w.sets[name].winner(); ok && who.rank == skeleton {
		return want
	}
	for _, s := range p.Sets {
		if s.Name == name {
			return s
		}
	}
	return Set{Name: name}
}

func (w *wanted) drop(who claimant, p *printed, t *touched) {
	for name, elements := range p.Elements {
		s := w.setOf(name, p)
		for _, e := range elements {
			w.elements[name].drop(who, s, e, t)
		}
	}
	for _, name := range p.counters {
		without(w.counters, name, who)
		t.counters[name] = true
	}
	for _, s := range p.Sets {
		without(w.sets, s.Name, who)
		t.sets[s.Name] = true
	}
	for _, c := range p.chains {
		without(w.chains, c.Name, who)
		t.chains[c.Name] = true
	}
}

func (c *setClaims) drop(who claimant, s Set, e Element, t *touched) {
	if !s.Interval {
		without(c.points, e.Key, who)
		mark(t.points, s.Name, e.Key)
		return
	}
	group, x := s.split(e)
	without(c.groups[group], x, who)
	if len(c.groups[group]) == 0 {
		delete(c.groups, group)
	}
	mark(t.groups, s.Name, group)
}

func without[K comparable, T any](m map[K]claims[T], key K, who claimant) {
	if rest := m[key].without(who); rest.len() > 0 {
		m[key] = rest
	} else {
		delete(m, key)
	}
}
