//go:build unix

package gateway

import (
	"fmt"
	"syscall"
)

// openFiles is the number of files that a child of this process may have open. Envoy
// raises its own limit to that.
func openFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	return uint64(limit.Max), nil //nolint:unconvert // it is signed on some systems
}
