//go:build linux

package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// All returns the leases, sorted by key, and the files that cannot be read. It
// waits for nobody: what Take and Give change meanwhile may be there, in part or
// not at all. Every other lease is there, whole.
func (l Leases) All() ([]Lease, []Unreadable, error) {
	f, entries, err := l.scan()
	if err != nil || f.dir == nil {
		return nil, nil, err
	}
	defer f.close()
	// By what stat says: only these numbers can be compared with an open file's.
	groups := map[uint64][]string{}
	for _, e := range entries {
		if st, err := f.stat(e.name); err == nil && isLeaseName(e.name) {
			groups[st.Ino] = append(groups[st.Ino], e.name)
		}
	}
	var leases []Lease
	var unreadable []Unreadable
	for _, names := range groups {
		lease, err := f.group(names)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err == nil:
			leases = append(leases, lease)
		default:
			unreadable = append(unreadable, f.unreadable(names, err)...)
		}
	}
	slices.SortFunc(leases, func(a, b Lease) int { return cmp.Compare(a.String(), b.String()) })
	slices.SortFunc(unreadable, func(a, b Unreadable) int { return cmp.Compare(a.Name, b.Name) })
	return leases, unreadable, nil
}

// group reads the lease of names that led to one file a moment ago.
func (f folder) group(names []string) (Lease, error) {
	for i, name := range names {
		file, err := f.read(name)
		if errors.Is(err, fs.ErrNotExist) && i+1 < len(names) {
			continue
		}
		if err != nil {
			return Lease{}, err
		}
		defer func() { _ = file.Close() }() // it was only read
		lease, err := read(file)
		if err != nil {
			return Lease{}, err
		}
		st, err := stat(file)
		if err != nil {
			return Lease{}, err
		}
		var entries []entry
		for _, name := range names {
			entries = append(entries, entry{name: name})
		}
		lease.Addresses = sorted(f.led(entries, st, func(entry) bool { return true }))
		return lease, nil
	}
	return Lease{}, fs.ErrNotExist
}

func (f folder) unreadable(names []string, reason error) []Unreadable {
	var all []Unreadable
	for _, name := range names {
		if st, err := f.stat(name); err == nil {
			all = append(all, Unreadable{Name: name, Modified: modified(st), Err: reason, inode: st.Ino})
		}
	}
	return all
}

// Usage says how full ranges are. A name is enough to count, so the files are not
// opened, and a range of 2⁶⁴ addresses costs as much as one of 2⁸.
func (l Leases) Usage(ranges Ranges) ([]Usage, error) {
	ranges, err := ranges.canonical()
	if err != nil {
		return nil, err
	}
	f, entries, err := l.scan()
	if err != nil {
		return nil, err
	}
	if f.dir != nil {
		f.close()
	}
	return usage(ranges, addressesOf(entries)), nil
}

// scan lists the folder. A folder that is not there has no leases.
func (l Leases) scan() (folder, []entry, error) {
	f, err := l.open()
	if errors.Is(err, fs.ErrNotExist) {
		return folder{}, nil, nil
	}
	if err != nil {
		return folder{}, nil, fmt.Errorf("read leases: %w", err)
	}
	entries, err := f.list()
	if err != nil {
		f.close()
		return folder{}, nil, fmt.Errorf("read leases: %w", err)
	}
	return f, entries, nil
}
