// Package freeport chooses ports for the servers of tests.
//
// A port that the kernel chooses is one that it may give to any outgoing
// connection a moment later, so that a server that comes late, or that is killed
// and started again, may find it taken. Those chosen here are below the kernel's,
// and each is given once by a process.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// The ports, above those that tests name and below 32768, where Linux begins
// by default.
const first, count = 20000, 10000

// begin is anywhere, because tests of several packages may share a machine, and
// given is how many were given.
var (
	begin = rand.Uint32N(count)
	given atomic.Uint32
)

// Get is a port on which nobody listens, neither with TCP nor with UDP.
func Get(t testing.TB) uint16 {
	t.Helper()
	port, err := Choose()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Choose is Get for code without a test.
func Choose() (uint16, error) {
	var err error
	for range count {
		port := uint16(first + (begin+given.Add(1))%count)
		if err = try(port); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("choose port: none of %d to %d is free, at last: %w", first, first+count-1, err)
}

// try listens on all addresses for a moment.
func try(port uint16) error {
	address := net.JoinHostPort("", strconv.Itoa(int(port)))
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	return errors.Join(tcp.Close(), udp.Close())
}
