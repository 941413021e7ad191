package nft

import (
	"maps"
	"slices"
	"strings"
)

// split divides an element of a set with intervals into the fields that are
// single, and the range of the last one.
func (s Set) split(e Element) (group Value, last span) {
	at := s.Key.size() - padded(s.Key[len(s.Key)-1].size())
	if len(s.Key) == 1 {
		at = 0
	}
	end := e.End
	if end == "" {
		end = e.Key
	}
	return e.Key[:at], span{e.Key[at:], end[at:]}
}

// merge joins the ranges of a group that overlap or touch one another: the
// kernel refuses ranges that overlap.
func merge(group Value, all map[span]claims[struct{}]) []Element {
	spans := slices.SortedFunc(maps.Keys(all), func(a, b span) int {
		return strings.Compare(string(a.first), string(b.first))
	})
	var merged []span
	for _, x := range spans {
		if n := len(merged) - 1; n >= 0 && x.first <= behind(merged[n].last) {
			merged[n].last = max(merged[n].last, x.last)
			continue
		}
		merged = append(merged, x)
	}
	elements := make([]Element, 0, len(merged))
	for _, x := range merged {
		elements = append(elements, Element{Key: group + x.first, End: group + x.last})
	}
	return elements
}

// behind is the value after v, or v itself if it is the last one.
func behind(v Value) Value {
	if n, ok := next(v); ok {
		return n
	}
	return v
}
