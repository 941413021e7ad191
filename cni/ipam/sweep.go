//go:build linux

package ipam

import (
	"errors"
	"time"
)

// Sweep removes the files that killed Takes left before they became leases, if
// they were last written before then. They take no address, only space. The Take
// of a process that was stopped for that long fails when it runs on.
func (l Leases) Sweep(then time.Time) error {
	f, entries, err := l.scan()
	if err != nil || f.dir == nil {
		return err
	}
	defer f.close()
	for _, e := range entries {
		if !isUnfinished(e.name) {
			continue
		}
		st, statErr := f.stat(e.name)
		if statErr == nil && modified(st).Before(then) {
			err = errors.Join(err, f.unlink(e.name))
		}
	}
	return err
}
