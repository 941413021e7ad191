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

// conflicts are those in what keys have touched.
func (t *table) conflicts(touched *touched, by []Key) []Conflict {
	k := t.skeleton.Key()
	var all []Conflict
	for name := range touched.sets {
		all = append(all, conflicts(k, by, t.wanted.sets[name], Set.equal, func(Set) string { return "set " + name })...)
	}
	for name := range touched.chains {
		all = append(all, conflicts(k, by, t.wanted.chains[name], (*chainContent).equal, func(*chainContent) string { return "chain " + name })...)
	}
	for name, keys := range touched.points {
		s, wanted := t.wanted.set(name)
		elements := t.wanted.elements[name]
		if !wanted || elements == nil {
			continue
		}
		for key := range keys {
			all = append(all, conflicts(k, by, elements.points[key], (*Element).same, func(e *Element) string {
				return fmt.Sprintf("element %s of set %s", s.format(*e), name)
			})...)
		}
	}
	return all
}

// conflicts are those of claims. Of a crowd, keys alone can have new ones, unless what all are
// compared with has changed.
func conflicts[T any](k TableKey, keys []Key, c claims[T], same func(T, T) bool, what func(T) string) []Conflict {
	winner, want, ok := c.winner()
	if !ok {
		return nil
	}
	var all []Conflict
	judge := func(who claimant, wants T) {
		if who != winner && who.rank == submitted && !same(wants, want) {
			all = append(all, Conflict{k, who.key, winner.key, what(wants)})
		}
	}
	if c.many == nil {
		c.losers(judge)
		return all
	}
	judged := c.many.judged
	c.many.judged = &claim[T]{winner, want}
	if judged == nil || judged.who != winner || !same(judged.want, want) || len(keys) > c.len() {
		c.losers(judge)
		return all
	}
	for _, key := range keys {
		who := claimant{submitted, key}
		if wants, there := c.many.wants[who]; there {
			judge(who, wants)
		}
	}
	return all
}
