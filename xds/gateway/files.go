package gateway

import (
	"cmp"
	"fmt"
	"syscall"
)

// filesBeside is how many files Envoy has open besides connections.
const filesBeside = 512

// within bounds the connections of clients by how many files may be open. An
// Envoy that has none left spins and answers nobody. A quarter is for
// connections to backends.
func (b Bootstrap) within(files uint64) Bootstrap {
	fit := (max(files, 2*filesBeside) - filesBeside) / 4 * 3
	if wanted := cmp.Or(b.MaxConnections, DefaultMaxConnections); uint64(wanted) > fit {
		b.MaxConnections = int64(fit)
	}
	return b
}

// openFiles is how many files a child of this process may have open. Envoy
// raises its own limit to that.
func openFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	return uint64(limit.Max), nil //nolint:unconvert // it is signed on some systems
}
