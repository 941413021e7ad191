//go:build linux

package ipam

import (
	"errors"
	"io/fs"
	"time"
)

// Sweep removes the files that killed Takes left before they became leases, if
// they were last written before then. They take no address, only space. The Take
// of a process that was stopped for that long fails when it runs on.
func (l Leases) Sweep(then time.Time) error {
	f, err := l.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.close()
	entries, err := f.list()
	for _, e := range entries {
		if !isUnfinished(e.name) {
			continue
		}
		st, statErr := f.stat(e.name)
		if statErr == nil && time.Unix(st.Mtim.Unix()).Before(then) {
			err = errors.Join(err, f.unlink(e.name))
		}
	}
	return err
}
