// Package power makes sockets of a test what those of a machine without power
// are: nobody is there. The kernel drops whatever comes for them before TCP sees
// it, so that nothing is acknowledged, refused or closed. It takes no rights.
package power

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen listens on a TCP address with sockets that Cut can be used for: those of
// Multipath TCP, which Go listens with, take no filter.
func Listen(address string) (net.Listener, error) {
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	return plain.Listen(context.Background(), "tcp", address)
}

// Cut takes the power from sockets, such as a *net.TCPListener and the connections
// that it has accepted; those that it accepted before have to be among them.
func Cut(sockets ...syscall.Conn) error {
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K} // of a packet is passed on
	program := unix.SockFprog{Len: 1, Filter: &nothing}
	return each(sockets, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	})
}

// Restore gives it back.
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
