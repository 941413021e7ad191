//go:build linux

package ipam

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Find returns the lease of a key, and false if it has none. It waits for nobody.
// A lease that is being made or removed has a part of its addresses.
func (l Leases) Find(key Key) (Lease, bool, error) {
	lease, err := l.find(key)
	if errors.Is(err, fs.ErrNotExist) {
		return Lease{}, false, nil
	}
	if err != nil {
		return Lease{}, false, fmt.Errorf("find lease of container %s, interface %s in %s: %w", key.Container, key.Interface, l.Dir, err)
	}
	return lease, true, nil
}

func (l Leases) find(key Key) (Lease, error) {
	if err := key.Validate(); err != nil {
		return Lease{}, err
	}
	f, err := l.open()
	if err != nil {
		return Lease{}, err
	}
	defer f.close()
	file, err := f.read(key.String())
	if err != nil {
		return Lease{}, err
	}
	defer func() { _ = file.Close() }() // it was only read
	lease, err := read(file)
	if err != nil {
		return Lease{}, err
	}
	if lease.Key != key {
		return Lease{}, fmt.Errorf("read record: it is of %s", lease.Key)
	}
	names, err := f.namesOf(file)
	lease.Addresses = sorted(names)
	return lease, err
}

func sorted(names []string) []netip.Addr {
	var addresses []netip.Addr
	for _, name := range names {
		if a, ok := addressOf(name); ok {
			addresses = append(addresses, a)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return addresses
}

// namesOf are the names of an open file. While it is open, no other file can get
// its inode number, so a name with that number is a name of this file. The
// numbers of one reading of the folder find them all, and stat proves each. Where
// these numbers are not those of stat, stat alone finds them.
func (f folder) namesOf(file *os.File) ([]string, error) {
	st, err := stat(file)
	if err != nil {
		return nil, err
	}
	entries, err := f.list()
	if err != nil {
		return nil, err
	}
	names := f.led(entries, st, func(e entry) bool { return e.inode == st.Ino })
	if uint64(len(names)) < uint64(st.Nlink) { //nolint:unconvert // Nlink is 32 bits wide on other machines
		names = f.led(entries, st, func(e entry) bool { return isLeaseName(e.name) || isUnfinished(e.name) })
	}
	return names, nil
}

// led are the names among those chosen that lead to a file.
func (f folder) led(entries []entry, to unix.Stat_t, chosen func(entry) bool) []string {
	var names []string
	for _, e := range entries {
		if !chosen(e) {
			continue
		}
		if st, err := f.stat(e.name); err == nil && st.Ino == to.Ino && st.Dev == to.Dev {
			names = append(names, e.name)
		}
	}
	return names
}

func modified(st unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }
