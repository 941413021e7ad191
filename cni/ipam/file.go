//go:build linux

package ipam

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// unfinished is how names begin that files have before their first real one.
const unfinished = ".new."

// file is a file that is being made. It has no name that takes anything.
type file struct {
	*os.File
	in        folder
	temporary string // its only name, where the file system cannot do without
}

// make makes an empty file without a name, so that nothing is left of it if this
// process is killed; or where the file system cannot do that, with a temporary
// name.
func (f folder) make() (*file, error) {
	fd, err := -1, error(unix.EOPNOTSUPP)
	if !f.named {
		// On the folder's own path, "." of the folder that is open.
		fd, err = unix.Openat(int(f.dir.Fd()), ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	}
	// EISDIR is what kernels and file systems say that do not know the flag.
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return f.makeNamed()
	}
	if err != nil {
		return nil, fmt.Errorf("make file in %s: %w", f.Dir, storage(f.Dir, err))
	}
	f.did("made a file")
	return &file{os.NewFile(uintptr(fd), f.Dir), f, ""}, nil
}

// makeNamed tries names of this process. One that exists is of a process that
// had this number before, or has it in another PID namespace.
func (f folder) makeNamed() (*file, error) {
	for n := 0; ; n++ {
		name := fmt.Sprintf("%s%d.%d", unfinished, os.Getpid(), n)
		fd, err := unix.Openat(int(f.dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("make file in %s: %w", f.Dir, storage(f.Dir, err))
		}
		f.did("made " + name)
		return &file{os.NewFile(uintptr(fd), f.Dir+"/"+name), f, name}, nil
	}
}

func (f *file) write(text []byte) error {
	if _, err := f.Write(text); err != nil {
		return fmt.Errorf("write file in %s: %w", f.in.Dir, storage(f.in.Dir, err))
	}
	f.in.did("wrote a file")
	return nil
}

// link gives the file a name, or fails with EEXIST. It names the file by its
// descriptor, because any name of it may be another file's by now. The kernel
// refuses with ENOENT once the file had a name and has none left.
func (f *file) link(name string) error {
	self := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	err := unix.Linkat(unix.AT_FDCWD, self, int(f.in.dir.Fd()), name, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return fmt.Errorf("link %s/%s: %w", f.in.Dir, name, storage(f.in.Dir, err))
	}
	f.in.did("linked " + name)
	return nil
}

// forget removes the temporary name.
func (f *file) forget() error {
	if f.temporary == "" {
		return nil
	}
	name := f.temporary
	f.temporary = ""
	return f.in.unlink(name)
}

// isUnfinished says whether a name is of a file that was being made.
func isUnfinished(name string) bool { return strings.HasPrefix(name, unfinished) }
