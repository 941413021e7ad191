package nft

import (
	"container/heap"
	"maps"
	"slices"
)

// claims are all that is wanted under one name. The smallest claimant has it.
//
// Most names have one claimant, and some have one of each key: a change costs the same with
// ten thousand of them as with ten.
type claims[T any] struct {
	few  []claim[T] // in the order of claimants
	many *crowd[T]  // instead, if they are more than mostFew
}

type claim[T any] struct {
	who  claimant
	want T
}

const mostFew = 16

func (c claims[T]) len() int {
	if c.many != nil {
		return len(c.many.wants)
	}
	return len(c.few)
}

// with adds what a claimant wants, in place of what it wanted before.
func (c claims[T]) with(who claimant, want T) claims[T] {
	if c.many != nil {
		c.many.add(who, want)
		return c
	}
	i, found := c.find(who)
	switch {
	case found:
		c.few[i].want = want
	case len(c.few) < mostFew:
		c.few = slices.Insert(c.few, i, claim[T]{who, want})
	default:
		c.many = &crowd[T]{wants: map[claimant]T{}}
		for _, x := range c.few {
			c.many.add(x.who, x.want)
		}
		c.many.add(who, want)
		c.few = nil
	}
	return c
}

func (c claims[T]) without(who claimant) claims[T] {
	if c.many != nil {
		delete(c.many.wants, who)
		return c
	}
	if i, found := c.find(who); found {
		c.few = slices.Delete(c.few, i, i+1)
	}
	return c
}

func (c claims[T]) find(who claimant) (int, bool) {
	return slices.BinarySearchFunc(c.few, who, func(a claim[T], b claimant) int { return a.who.compare(b) })
}

// winner is who has it, and what he wants.
func (c claims[T]) winner() (who claimant, want T, ok bool) {
	if c.many != nil {
		return c.many.winner()
	}
	if len(c.few) == 0 {
		return who, want, false
	}
	return c.few[0].who, c.few[0].want, true
}

func (c claims[T]) first() (T, bool) {
	_, want, ok := c.winner()
	return want, ok
}

// losers calls each for the claimants that do not have it, in their order.
func (c claims[T]) losers(each func(claimant, T)) {
	if c.many == nil {
		for _, x := range c.few[min(1, len(c.few)):] {
			each(x.who, x.want)
		}
		return
	}
	all := slices.SortedFunc(maps.Keys(c.many.wants), claimant.compare)
	for _, who := range all[min(1, len(all)):] {
		each(who, c.many.wants[who])
	}
}

// crowd is many claimants.
type crowd[T any] struct {
	wants map[claimant]T
	// order has each of them, and maybe some who want nothing any more, or some twice.
	order claimants
	// judged is who had it when all were compared with him last, and what he wanted.
	judged *claim[T]
}

func (c *crowd[T]) add(who claimant, want T) {
	if _, there := c.wants[who]; !there {
		heap.Push(&c.order, who)
	}
	c.wants[who] = want
	if len(c.order) > 2*len(c.wants)+mostFew {
		c.order = slices.Collect(maps.Keys(c.wants))
		heap.Init(&c.order)
	}
}

func (c *crowd[T]) winner() (who claimant, want T, ok bool) {
	for len(c.order) > 0 {
		who = c.order[0]
		if want, ok = c.wants[who]; ok {
			return who, want, true
		}
		heap.Pop(&c.order)
	}
	return claimant{}, want, false
}

// claimants is a heap.
type claimants []claimant

func (o claimants) Len() int           { return len(o) }
func (o claimants) Less(i, j int) bool { return o[i].compare(o[j]) < 0 }
func (o claimants) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }

// Push implements heap.Interface.
func (o *claimants) Push(x any) { *o = append(*o, x.(claimant)) } //nolint:forcetypeassert // heap.Push is called with claimants alone

// Pop implements heap.Interface.
func (o *claimants) Pop() any {
	last := (*o)[len(*o)-1]
	*o = (*o)[:len(*o)-1]
	return last
}
