//go:build linux

package ipam

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// hint is the name of the file with the address that a range gave last.
func hint(p netip.Prefix) string { return ".last." + strings.ReplaceAll(p.String(), "/", "_") }

// last is the address after which to look for a free one. If the hint is lost or
// wrong, looking begins at the start: an address then rests for a shorter time.
func (f folder) last(p netip.Prefix) netip.Addr {
	file, err := f.read(hint(p))
	if err != nil {
		return netip.Addr{}
	}
	defer file.Close()
	text := make([]byte, 64) // an IPv6 address has up to 45
	n, _ := file.ReadAt(text, 0)
	a, err := netip.ParseAddr(strings.TrimSpace(string(text[:n])))
	if err != nil || !p.Contains(a) {
		return netip.Addr{}
	}
	return a
}

// remember writes the hint of a range. It may fail, as on a disk that has just
// become full: the lease is made, and only an address rests for a shorter time.
// A file without a name cannot replace another by rename(2), so this one has one.
func (f folder) remember(p netip.Prefix, a netip.Addr) {
	file, err := f.makeNamed()
	if err != nil {
		return
	}
	defer file.Close()
	err = file.write([]byte(a.String() + "\n"))
	if err == nil {
		dir := int(f.dir.Fd())
		err = unix.Renameat(dir, file.temporary, dir, hint(p))
	}
	if err != nil {
		_ = file.forget() // Sweep does it otherwise
		return
	}
	f.did("renamed " + hint(p))
}
