package census_test

import (
	"container/list"
	"maps"
	"testing"

	"github.com/fairwaynet/fairway/test/census"
)

type keeper struct {
	names map[string]*entry
	queue list.List
	any   any
	self  *keeper
	bytes []byte
	pairs [2][]int
}

type entry struct{ others map[*entry]struct{} }

func TestOf(t *testing.T) {
	a, b := &entry{}, &entry{}
	a.others = map[*entry]struct{}{b: {}}
	k := &keeper{names: map[string]*entry{"a": a, "again": a}, any: a, bytes: make([]byte, 7), pairs: [2][]int{{1}, {2, 3}}}
	k.self = k
	k.queue.PushBack(&entry{})
	got := census.Of([]string{"github.com/fairwaynet/fairway/test/census_test"}, k)
	want := map[string]int{
		"*census_test.keeper": 1, "*census_test.entry": 3,
		"census_test.keeper.names": 2, "census_test.entry.others": 1, "census_test.keeper.pairs": 3,
	}
	maps.DeleteFunc(got, func(what string, _ int) bool { return what == "*list.Element" || what == "*list.List" })
	if !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	empty := census.Of([]string{"github.com/fairwaynet/fairway/test/census_test"}, &keeper{})
	if !maps.Equal(empty, map[string]int{"*census_test.keeper": 1}) {
		t.Errorf("an empty one has %v", empty)
	}
}
