package main

import (
	"io/fs"
	"strconv"
	"strings"
)

// heapShare is how much of a container's memory Envoy's heap may have, in
// percent. The rest is for this process, and for what the kernel keeps of
// connections.
const heapShare = 70

// leastHeap is the smallest bound that can be meant. With less, an Envoy that has
// nothing to serve would shed load already.
const leastHeap = 32 << 20

// defaultHeap is the most that Envoy's heap should have in this container; 0 if
// its memory has no limit. The root is that of the file system.
func defaultHeap(root fs.FS) byteCount {
	for _, path := range []string{
		"sys/fs/cgroup/memory.max",
		"sys/fs/cgroup/memory/memory.limit_in_bytes",
	} {
		text, err := fs.ReadFile(root, path)
		if err != nil {
			continue // another version of cgroups, or none
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || limit >= 1<<50 {
			return 0 // "max", or the largest number that there is
		}
		return byteCount(limit / 100 * heapShare)
	}
	return 0
}
