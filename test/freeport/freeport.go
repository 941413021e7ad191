// Package freeport chooses ports for the servers of tests.
//
// If the kernel chooses a port, it may give the same port to an outgoing
// connection a moment later. A server that binds late, or is killed and
// restarted, may then find its port taken. The ports here are below the kernel's
// range, and a process gives each of them only once.
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

// The ports lie above those that tests use by number, and below 32768, where
// Linux's own range begins by default.
const first, count = 20000, 10000

// begin is random, because tests of several packages may share a machine. given
// counts the ports that were given.
var (
	begin = rand.Uint32N(count)
	given atomic.Uint32
)

// Get is a port without a listener, for both TCP and UDP.
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
