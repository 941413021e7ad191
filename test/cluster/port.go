package cluster

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// reservation holds a free TCP port of 127.0.0.1 for one server that shares it
// (SO_REUSEPORT), even while that server is down. The reservation does not
// listen, so the kernel refuses connections until the server listens.
type reservation struct {
	number int
	fd     int
}

func reserve() (*reservation, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve port: %w", os.NewSyscallError("socket", err))
	}
	number, err := bind(fd)
	if err != nil {
		unix.Close(fd) //nolint:errcheck // it holds no port
		return nil, fmt.Errorf("reserve port: %w", err)
	}
	return &reservation{number: number, fd: fd}, nil
}

// bind gives the socket a free port. The kernel never chooses a port that
// another socket shares, so two reservations never meet.
func bind(fd int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return address.(*unix.SockaddrInet4).Port, nil
}

func (r *reservation) release() {
	if r == nil || r.fd < 0 {
		return
	}
	unix.Close(r.fd) //nolint:errcheck // the port is free either way
	r.fd = -1
}
