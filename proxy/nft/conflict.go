package nft

import "fmt"

// Conflict is something of a part that is not as its key wants it, because a
// smaller key or the skeleton wants something else under the same name.
type Conflict struct {
	Table TableKey
	Key   Key
	With  Key    // empty for the skeleton
	What  string // "chain s3", "element 10.0.0.1 : drop of set services"
}

// conflicts are those in what was touched.
func (t *table) conflicts(touched *touched) []Conflict {
	k := t.skeleton.Key()
	var all []Conflict
	for name := range touched.sets {
		all = append(all, conflicts(k, t.wanted.sets[name], Set.equal, func(Set) string { return "set " + name })...)
	}
	for name := range touched.chains {
		all = append(all, conflicts(k, t.wanted.chains[name], (*chainContent).equal, func(*chainContent) string { return "chain " + name })...)
	}
	for name, keys := range touched.points {
		s, elements := t.wanted.sets[name], t.wanted.elements[name]
		if len(s) == 0 || elements == nil {
			continue
		}
		for key := range keys {
			all = append(all, conflicts(k, elements.points[key], Element.same, func(e Element) string {
				return fmt.Sprintf("element %s of set %s", s[0].want.format(e), name)
			})...)
		}
	}
	return all
}

func conflicts[T any](k TableKey, c claims[T], same func(T, T) bool, what func(T) string) []Conflict {
	var all []Conflict
	for _, x := range c[min(1, len(c)):] {
		if x.who.rank == submitted && !same(x.want, c[0].want) {
			all = append(all, Conflict{k, x.who.key, c[0].who.key, what(x.want)})
		}
	}
	return all
}
