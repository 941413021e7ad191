package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrNoNamespace says that a path does not lead to a network namespace, or no longer.
var ErrNoNamespace = errors.New("it is no network namespace")

// Namespace is an open network namespace. It lives at least until Close.
type Namespace struct {
	// Path is where it was opened.
	Path string
	// Device and Inode identify it on this machine until it is gone. Paths are used again.
	Device, Inode uint64

	file *os.File
}

// OpenNamespace opens the network namespace at a path such as /run/netns/cni-1. If there
// is none, the error wraps ErrNoNamespace.
func OpenNamespace(path string) (*Namespace, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w: nothing is there", path, ErrNoNamespace)
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	var kind unix.Statfs_t
	var stat unix.Stat_t
	err = errors.Join(unix.Fstatfs(int(file.Fd()), &kind), unix.Fstat(int(file.Fd()), &stat))
	if err == nil && kind.Type != unix.NSFS_MAGIC {
		err = ErrNoNamespace
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), file.Close())
	}
	return &Namespace{Path: path, Device: stat.Dev, Inode: stat.Ino, file: file}, nil
}

// Close lets the namespace go.
func (n *Namespace) Close() error { return n.file.Close() }

// IsOwn reports whether the calling thread is in the namespace.
func (n *Namespace) IsOwn() (bool, error) {
	var own unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return false, fmt.Errorf("find our own network namespace: %w", err)
	}
	return own.Dev == n.Device && own.Ino == n.Inode, nil
}

// netlink opens a socket of the namespace.
func (n *Namespace) netlink() (*netlink.Handle, error) {
	handle, err := netlink.NewHandleAt(netns.NsHandle(n.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket in %s: %w", n.Path, err)
	}
	return handle, nil
}

// within runs a function on a thread that is in the namespace: /proc/sys/net shows the
// settings of the namespace of the thread that opens it. The thread ends with it.
func (n *Namespace) within(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread must not serve other goroutines
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", n.Path, err)
			return
		}
		done <- do()
	}()
	return <-done
}
