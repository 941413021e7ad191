// Package netns runs a test binary in a network namespace of its own.
//
// The namespace holds only a loopback device. So tests can use any address and
// port without conflicts with the machine or with one another, and nothing can
// leave the namespace. The kernel removes it with its last process, so nothing
// needs cleaning up. Root is not needed if the kernel lets users make namespaces.
package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the process that runs in the namespace.
const inside = "FAIRWAY_TEST_NETNS"

// Main runs the tests of m in a new network namespace. All addresses of networks
// are local in it, as those of 127.0.0.0/8 are. Call Main from TestMain; it
// exits. It supports IPv4 networks only.
func Main(m *testing.M, networks ...netip.Prefix) {
	os.Exit(run(m, networks)) //nolint:forbidigo // this is a test's main
}

func run(m *testing.M, networks []netip.Prefix) int {
	if os.Getenv(inside) == "" {
		return again()
	}
	if err := set(networks); err != nil {
		fmt.Fprintln(os.Stderr, "set up the network namespace:", err)
		return 1
	}
	return m.Run()
}

// again runs this program again, in the namespace, and returns its exit code.
func again() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "find the test binary:", err)
		return 1
	}
	child := exec.Command(self, os.Args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), inside+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := child.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "make a network namespace (needs root, or user namespaces allowed):", err)
		return 1
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		for s := range signals {
			_ = child.Process.Signal(s) // it may have ended by itself
		}
	}()
	err = child.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run the tests in the network namespace:", err)
		return 1
	}
	return 0
}

// set brings the loopback device up and gives it networks.
func set(networks []netip.Prefix) (err error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(socket)) }()
	if err := up(socket, "lo"); err != nil {
		return err
	}
	for i, network := range networks {
		if err := address(socket, fmt.Sprintf("lo:%d", i+1), network); err != nil {
			return err
		}
	}
	return nil
}

func up(socket int, device string) error {
	request, err := unix.NewIfreq(device)
	if err != nil {
		return fmt.Errorf("bring %s up: %w", device, err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring %s up: %w", device, err)
	}
	return nil
}

// address gives device the first address of network and its mask.
func address(socket int, device string, network netip.Prefix) error {
	first := network.Masked().Addr().Next().AsSlice()
	err := ioctl(socket, device, unix.SIOCSIFADDR, first)
	if err == nil {
		err = ioctl(socket, device, unix.SIOCSIFNETMASK, net.CIDRMask(network.Bits(), 32))
	}
	if err != nil {
		return fmt.Errorf("give %s the network %s: %w", device, network, err)
	}
	return nil
}

// ioctl sets an IPv4 address of an interface request.
func ioctl(socket int, device string, request uint, ip []byte) error {
	ifreq, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	if err := ifreq.SetInet4Addr(ip); err != nil {
		return err
	}
	return unix.IoctlIfreq(socket, request, ifreq)
}
