package gateway

import (
	"testing"
	"testing/fstest"
)

func TestTheHeapFollowsTheContainersMemory(t *testing.T) {
	const v2, v1 = "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"
	for _, test := range []struct {
		name, path, text string
		want             int64
	}{
		{"a limit", v2, "1000000000\n", 700_000_000},
		{"no limit", v2, "max\n", 0},
		{"a limit of cgroups v1", v1, "1000000000\n", 700_000_000},
		{"no limit of cgroups v1", v1, "9223372036854771712\n", 0},
		{"no cgroups", "sys", "", 0},
		{"nonsense", v2, "much\n", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{test.path: {Data: []byte(test.text)}}
			if got := DefaultHeap(root); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}
