// Package power makes sockets of a test behave like those of a machine without
// power. The kernel drops their incoming packets before TCP sees them, so that
// nothing is acknowledged, refused or closed. It needs no privileges.
package power

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen listens on a TCP address with sockets that work with Cut. Go's default,
// Multipath TCP, does not support socket filters.
func Listen(address string) (net.Listener, error) {
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	return plain.Listen(context.Background(), "tcp", address)
}

// Cut cuts the power of sockets, such as a *net.TCPListener and the connections
// that it has accepted. The caller must include all of its accepted connections.
func Cut(sockets ...syscall.Conn) error {
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K} // pass on 0 bytes of a packet
	program := unix.SockFprog{Len: 1, Filter: &nothing}
	return each(sockets, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	})
}

// Restore undoes Cut.
func Restore(sockets ...syscall.Conn) error {
	return each(sockets, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	})
}

func each(sockets []syscall.Conn, do func(fd int) error) (err error) {
	for _, socket := range sockets {
		raw, failed := socket.SyscallConn()
		if failed == nil {
			failed = errors.Join(raw.Control(func(fd uintptr) { failed = do(int(fd)) }), failed)
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("set the filter of a socket: %w", failed))
		}
	}
	return err
}
