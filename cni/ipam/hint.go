//go:build linux

package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// hint is the name of the file with the address that a range gave last.
func hint(p netip.Prefix) string { return ".last." + strings.ReplaceAll(p.String(), "/", "_") }

// nowhere begins the target of a hint, so that it leads to no lease.
const nowhere = "="

// last is the address after which to look for a free one. If the hint is lost or
// wrong, looking begins at the start: an address then rests for a shorter time.
func (f folder) last(p netip.Prefix) netip.Addr {
	text := make([]byte, 64) // an IPv6 address has up to 45
	n, err := unix.Readlinkat(int(f.dir.Fd()), hint(p), text)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(strings.TrimPrefix(string(text[:n]), nowhere))
	if err != nil || !p.Contains(a) {
		return netip.Addr{}
	}
	return a
}

// remember writes the hint of a range. It may fail, as on a disk that has just
// become full: the lease is made, and only an address rests for a shorter time.
// The hint is a symbolic link, of which the address is the target: ext4 writes a
// file to the disk at once when it replaces another by rename(2), which takes
// milliseconds, and does not do so for a link.
func (f folder) remember(p netip.Prefix, a netip.Addr) {
	dir := int(f.dir.Fd())
	temporary := fmt.Sprintf("%s%d%s", unfinished, os.Getpid(), hint(p))
	err := unix.Symlinkat(nowhere+a.String(), dir, temporary)
	if errors.Is(err, unix.EEXIST) { // of a process that had this number before
		err = errors.Join(unix.Unlinkat(dir, temporary, 0), unix.Symlinkat(nowhere+a.String(), dir, temporary))
	}
	if err != nil {
		return
	}
	f.did("made " + temporary)
	if unix.Renameat(dir, temporary, dir, hint(p)) != nil {
		_ = f.unlink(temporary) // Sweep does it otherwise
		return
	}
	f.did("renamed " + hint(p))
}
