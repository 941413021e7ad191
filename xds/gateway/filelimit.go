package gateway

import "cmp"

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
