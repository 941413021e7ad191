package gateway

import (
	"cmp"
	"fmt"
	"syscall"
)

// reservedFiles is how many files Envoy needs beside connections.
const reservedFiles = 512

// limitConnections bounds the connections of clients by the number of files that may be
// open. An Envoy that has none left spins and answers no client. A quarter of them is for
// connections to backends.
func (b Bootstrap) limitConnections(files uint64) Bootstrap {
	fit := (max(files, 2*reservedFiles) - reservedFiles) / 4 * 3
	if wanted := cmp.Or(b.MaxConnections, DefaultMaxConnections); uint64(wanted) > fit {
		b.MaxConnections = int64(fit)
	}
	return b
}

// openFiles is the number of files that a child of this process may have open. Envoy
// raises its own limit to that.
func openFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	return uint64(limit.Max), nil //nolint:unconvert // it is signed on some systems
}
