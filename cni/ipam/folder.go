//go:build linux

package ipam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Leases are the leases of one node.
type Leases struct {
	// Dir is the folder. The first Take makes it, for its owner only. It must be
	// on one file system that has hard links.
	Dir string

	step  func(string) // of tests: runs between two changes
	named bool         // of tests: as if the file system had no O_TMPFILE
}

// folder is the folder of leases, open.
type folder struct {
	Leases
	dir *os.File
}

// open returns fs.ErrNotExist if no lease was ever made.
func (l Leases) open() (folder, error) {
	dir, err := os.OpenFile(l.Dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	return folder{l, dir}, err
}

func (f folder) close() { _ = f.dir.Close() }

func (f folder) did(what string) {
	if f.step != nil {
		f.step(what)
	}
}

// pause is how often a lock is tried. flock(2) itself cannot wait with a deadline.
const pause = time.Millisecond

// lock waits until no other process removes names. The lock is on the folder
// itself, open for reading, so it needs neither space nor a disk that can be
// written. It ends with close or with the process.
func (f folder) lock(ctx context.Context) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		err := unix.Flock(int(f.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", f.Dir, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for another process that removes leases in %s: %w", f.Dir, context.Cause(ctx))
		}
	}
}

// entry is a name in the folder, and the inode number that the folder gives for
// it. Some file systems (overlayfs with layers on different ones) give another
// number here than stat does, so it is a hint of where to look.
type entry struct {
	name  string
	inode uint64
}

// list reads the folder once. It opens no file.
func (f folder) list() ([]entry, error) {
	fd, err := unix.Openat(int(f.dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", f.Dir, err)
	}
	defer unix.Close(fd) //nolint:errcheck // it was only read
	var entries []entry
	buffer := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", f.Dir, err)
		}
		if n == 0 {
			return entries, nil
		}
		entries = dirents(entries, buffer[:n])
	}
}

// dirents appends what getdents64(2) returned: inode (8 bytes), offset (8), length
// (2), type (1), and the name, which ends with a zero byte.
func dirents(entries []entry, b []byte) []entry {
	const header = 8 + 8 + 2 + 1
	for len(b) > header {
		length := int(binary.NativeEndian.Uint16(b[16:]))
		name := unix.ByteSliceToString(b[header:length])
		if name != "." && name != ".." {
			entries = append(entries, entry{name, binary.NativeEndian.Uint64(b)})
		}
		b = b[length:]
	}
	return entries
}

// read opens a file of the folder for reading. Whatever lies there under the
// name, it neither waits nor leaves the folder.
func (f folder) read(name string) (*os.File, error) {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(int(f.dir.Fd()), name, flags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: f.Dir + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), f.Dir+"/"+name), nil
}

// stat says what a name leads to.
func (f folder) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(f.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return st, &fs.PathError{Op: "stat", Path: f.Dir + "/" + name, Err: err}
	}
	return st, nil
}

func (f folder) unlink(name string) error {
	err := unix.Unlinkat(int(f.dir.Fd()), name, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s/%s: %w", f.Dir, name, storage(f.Dir, err))
	}
	f.did("removed " + name)
	return nil
}

func stat(file *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return st, &fs.PathError{Op: "stat", Path: file.Name(), Err: err}
	}
	return st, nil
}
