package shrink_test

import (
	"maps"
	"runtime"
	"testing"

	"github.com/fairwaynet/fairway/api/shrink"
)

func TestDeleteKeepsTheOthers(t *testing.T) {
	m, want := map[int]string{}, map[int]string{}
	for i := range 3000 {
		m[i], want[i] = "value", "value"
	}
	for i := range 3000 {
		shrink.Delete(&m, i)
		shrink.Delete(&m, i) // no longer there
		delete(want, i)
		if len(m) != len(want) {
			t.Fatalf("%d entries, want %d", len(m), len(want))
		}
		if len(m)%500 == 24 && !maps.Equal(m, want) {
			t.Fatalf("the entries are not those left, at %d", len(m))
		}
	}
	m[1] = "again"
	if len(m) != 1 {
		t.Error("the emptied map takes no entry")
	}
}

// A loop may delete its current key, even if that replaces the map.
func TestDeleteInALoop(t *testing.T) {
	m := map[int]int{}
	for i := range 3000 {
		m[i] = i
	}
	seen := 0
	for key := range m {
		seen++
		if key >= 10 {
			shrink.Delete(&m, key)
		}
	}
	if seen != 3000 || len(m) != 10 {
		t.Errorf("the loop saw %d of 3000 keys and left %d, want 10", seen, len(m))
	}
	for key := range m {
		shrink.Delete(&m, key)
	}
	if len(m) != 0 {
		t.Errorf("%d keys are left", len(m))
	}
}

func TestDeleteFromNoMap(t *testing.T) {
	var m map[string]int
	shrink.Delete(&m, "key")
	if len(m) != 0 {
		t.Error("there is an entry")
	}
}

func TestMemoryReturns(t *testing.T) {
	const many = 200_000
	m := map[int][8]int{}
	empty := heap()
	for i := range many {
		m[i] = [8]int{}
	}
	full := heap() - empty
	for i := range many {
		shrink.Delete(&m, i)
	}
	if left := heap() - empty; left > full/100 {
		t.Errorf("%d of %d bytes stay", left, full)
	}
	runtime.KeepAlive(m)
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
