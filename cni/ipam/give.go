//go:build linux

package ipam

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Give removes the lease of a key, whole or of an ADD that was killed, and no
// name of another lease. What is gone is no error. Give needs no space. It waits
// for others that remove until ctx ends. Its error wraps [StorageError] if the
// disk is read-only: then the lease stays, and Give can be repeated.
func (l Leases) Give(ctx context.Context, key Key) error {
	err := l.give(ctx, key)
	if err != nil {
		return fmt.Errorf("give back addresses of container %s, interface %s in %s: %w", key.Container, key.Interface, l.Dir, err)
	}
	return nil
}

func (l Leases) give(ctx context.Context, key Key) error {
	if err := key.Validate(); err != nil {
		return err
	}
	return l.locked(ctx, func(f folder) error {
		file, err := f.read(key.String())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // it was only read
		return f.remove(file, key)
	})
}

// Remove removes a lease as All returned it. It does nothing if the lease is
// gone, also if its addresses or its key have another lease by now. So, unlike
// Give, it can act on what was read a while ago, and finds a lease that has
// addresses but no key.
func (l Leases) Remove(ctx context.Context, lease Lease) error {
	return l.locked(ctx, func(f folder) error {
		for _, name := range lease.names() {
			file, err := f.read(name)
			if err != nil {
				continue // gone
			}
			found, err := read(file)
			if err == nil && found.same(lease) {
				err = f.remove(file, lease.Key)
				_ = file.Close()
				return err
			}
			_ = file.Close()
		}
		return nil
	})
}

// RemoveUnreadable removes a file as All returned it, unless it has changed.
func (l Leases) RemoveUnreadable(ctx context.Context, u Unreadable) error {
	return l.locked(ctx, func(f folder) error {
		st, err := f.stat(u.Name)
		if err != nil || st.Ino != u.inode || !modified(st).Equal(u.Modified) {
			return nil //nolint:nilerr // gone
		}
		return f.unlink(u.Name)
	})
}

func (l Lease) names() []string {
	names := []string{l.String()}
	for _, a := range l.Addresses {
		names = append(names, a.String())
	}
	return names
}

// locked runs do as the only process that removes names. If there is no folder,
// there is nothing to remove.
func (l Leases) locked(ctx context.Context, do func(folder) error) error {
	f, err := l.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.lock(ctx); err != nil {
		return err
	}
	f.did("locked")
	return do(f)
}

// remove removes all names of an open file, that of its key last. A Take that is
// still at work may add one meanwhile. So it goes on until the file has none: the
// kernel then refuses new ones.
func (f folder) remove(file *os.File, key Key) error {
	for {
		before, err := stat(file)
		if err != nil || before.Nlink == 0 {
			return err
		}
		names, err := f.namesOf(file)
		if err != nil {
			return err
		}
		if err := f.unlinkAll(names, key); err != nil {
			return err
		}
		now, err := stat(file)
		if err != nil {
			return err
		}
		if len(names) == 0 && now.Nlink == before.Nlink {
			return nil // its other names are not in this folder: somebody's copy
		}
	}
}

// unlinkAll removes names, that of the key last.
func (f folder) unlinkAll(names []string, key Key) error {
	for _, isKey := range []bool{false, true} {
		for _, name := range names {
			if (name == key.String()) != isKey {
				continue
			}
			if err := f.unlink(name); err != nil {
				return err
			}
		}
	}
	return nil
}
