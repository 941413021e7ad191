package gateway

import (
	"io/fs"
	"strconv"
	"strings"
)

// heapShare is the part of a container's memory that Envoy's heap may use, in
// percent. The rest is for this process, and for the kernel's connection buffers.
const heapShare = 70

// LeastHeap is the smallest limit that makes sense, in bytes. With less, even an idle
// Envoy would shed load.
const LeastHeap = 32 << 20

// DefaultHeap is the limit for Envoy's heap in this container, in bytes, or 0 if the
// container's memory has no limit. root is the root of the file system.
func DefaultHeap(root fs.FS) int64 {
	for _, path := range []string{
		"sys/fs/cgroup/memory.max",
		"sys/fs/cgroup/memory/memory.limit_in_bytes",
	} {
		text, err := fs.ReadFile(root, path)
		if err != nil {
			continue // another cgroup version, or none
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || limit >= 1<<50 {
			return 0 // "max", or the largest possible number
		}
		return limit / 100 * heapShare
	}
	return 0
}
