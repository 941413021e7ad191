//go:build linux

package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Wanted is which addresses a pod is to get.
type Wanted struct {
	Ranges Ranges
	// Requested are addresses that the pod must get, at most one of a family (CNI's
	// capability "ips"). A family without one gets the next free address.
	Requested []netip.Addr
}

// Take makes a lease and returns it with its addresses, or leaves nothing behind.
// It waits for nobody, except to undo: then it waits for the lock of removals
// until ctx ends, and if that is too short, leaves the lease to Give.
//
// Its errors wrap [ErrExists], [ErrGiven], [ExhaustedError], [TakenError],
// [OutsideError] or [StorageError], or say what is wrong with lease or want.
func (l Leases) Take(ctx context.Context, lease Lease, want Wanted) (Lease, error) {
	taken, err := l.take(ctx, lease, want)
	if err != nil {
		return Lease{}, fmt.Errorf("take addresses for container %s, interface %s in %s: %w",
			lease.Container, lease.Interface, l.Dir, err)
	}
	return taken, nil
}

func (l Leases) take(ctx context.Context, lease Lease, want Wanted) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return Lease{}, err
	}
	families, err := want.families()
	if err != nil {
		return Lease{}, err
	}
	text, err := encode(lease)
	if err != nil {
		return Lease{}, err
	}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return Lease{}, storage(l.Dir, err)
	}
	f, err := l.open()
	if err != nil {
		return Lease{}, err
	}
	defer f.close()
	names, err := f.list()
	if err != nil {
		return Lease{}, err
	}
	t := taking{folder: f, taken: addressesOf(names)}
	if lease.Addresses, err = t.run(ctx, lease.Key, text, families); err != nil {
		return Lease{}, err
	}
	t.rememberAll()
	return lease, nil
}

// taking is one run of Take.
type taking struct {
	folder
	file  *file
	taken map[netip.Addr]bool         // by others
	last  map[netip.Prefix]netip.Addr // what was taken in turn
}

// run writes the whole record first, then gives it the name of its key, which is
// how Give finds it, and then those of its addresses.
func (t *taking) run(ctx context.Context, key Key, text []byte, families []family) (addresses []netip.Addr, err error) {
	if t.file, err = t.make(); err != nil {
		return nil, err
	}
	defer func() { _ = t.file.Close() }() // what was written is linked, or given up
	if err = t.file.write(text); err == nil {
		err = t.file.link(key.String())
	}
	err = errors.Join(exists(err), t.file.forget())
	if errors.Is(err, ErrExists) {
		return nil, err
	}
	for _, f := range families {
		if err != nil {
			break
		}
		var a netip.Addr
		a, err = t.address(f)
		addresses = append(addresses, a)
	}
	if err == nil {
		err = t.still(1 + len(addresses))
	}
	if err != nil {
		// Others may have removed our names and taken them since. So the undoing
		// looks at what is ours, under the lock, as Give does.
		return nil, errors.Join(err, t.undo(ctx, key))
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return addresses, nil
}

func exists(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return ErrExists
	}
	return err
}

// still says that the file has all its names, so that Give did not come by.
func (t *taking) still(names int) error {
	st, err := stat(t.file.File)
	if err == nil && uint64(st.Nlink) < uint64(names) { //nolint:unconvert // Nlink is 32 bits wide on other machines
		return ErrGiven
	}
	return err
}

func (t *taking) undo(ctx context.Context, key Key) error {
	st, err := stat(t.file.File)
	if err != nil || st.Nlink == 0 {
		return err
	}
	if err := t.lock(ctx); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	return t.remove(t.file.File, key)
}

// claim gives the file the name of an address, if nobody has it.
func (t *taking) claim(a netip.Addr) (free bool, err error) {
	if t.taken[a] {
		return false, nil
	}
	err = t.file.link(a.String())
	if errors.Is(err, unix.EEXIST) {
		t.taken[a] = true
		return false, nil
	}
	if errors.Is(err, unix.ENOENT) {
		return false, ErrGiven
	}
	return err == nil, err
}

// address takes an address of a family.
func (t *taking) address(f family) (netip.Addr, error) {
	if f.requested.IsValid() {
		free, err := t.claim(f.requested)
		if err == nil && !free {
			err = t.by(f.requested)
		}
		return f.requested, err
	}
	for _, p := range f.ranges {
		for a := range after(p, t.folder.last(p)) {
			if !f.ranges.contain(a) {
				continue // the network address of a range within this one
			}
			free, err := t.claim(a)
			if err != nil {
				return netip.Addr{}, err
			}
			if free {
				if t.last == nil {
					t.last = map[netip.Prefix]netip.Addr{}
				}
				t.last[p] = a
				return a, nil
			}
		}
	}
	return netip.Addr{}, &ExhaustedError{Ranges: usage(f.ranges, t.taken)}
}

// by says who has an address.
func (t *taking) by(a netip.Addr) error {
	taken := &TakenError{Address: a}
	if holder, err := t.read(a.String()); err == nil {
		defer func() { _ = holder.Close() }() // it was only read
		taken.By, _ = read(holder)            // what cannot be read is taken, too
	}
	return taken
}

func (t *taking) rememberAll() {
	for p, a := range t.last {
		t.remember(p, a)
	}
}

func addressesOf(entries []entry) map[netip.Addr]bool {
	addresses := map[netip.Addr]bool{}
	for _, e := range entries {
		if a, ok := addressOf(e.name); ok {
			addresses[a] = true
		}
	}
	return addresses
}
