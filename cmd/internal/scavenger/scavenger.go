// Package scavenger returns memory of a shrunk heap to the operating system.
//
// Go's own scavenger keeps much of the memory for later use, but a controller has no
// later use for it after the deletion of many hosts. It does not limit the heap. Its
// invariant: a process whose heap does not shrink pays for looks at the heap only.
package scavenger

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// Interval is the usual time between two checks of the heap's size. A check
	// takes microseconds.
	Interval = 5 * time.Second

	// Both are parts of the live heap. If less than quiet was allocated between
	// two checks, the process is idle. If more than stale was allocated since the
	// last collection, another collection is worth it.
	quiet, stale = 0.02, 0.1
	// A heap counts as shrunk below this part (shrunk) of its largest size. It
	// has stopped shrinking above this part (steady) of its previous size.
	shrunk, steady = 0.7, 0.95
)

// Run returns memory to the system when the heap has shrunk a lot, and goes on
// while the heap shrinks, until ctx ends. It checks the heap at every interval.
func Run(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	largest, shrinking := uint64(0), true // the start leaves much garbage
	var calm calm
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if calm.after(read()) {
			runtime.GC()
		}
		before := read().live
		largest = max(largest, before)
		if !shrinking && float64(before) >= shrunk*float64(largest) {
			continue
		}
		debug.FreeOSMemory()
		largest = read().live
		shrinking = float64(largest) < steady*float64(before)
	}
}

// calm finds the moment at which the process becomes idle after much work. Only a
// collection finds deleted objects, and an idle process may not collect for two
// minutes.
type calm struct {
	last      heap
	busy      bool   // since the last such moment
	collected uint64 // lower bound of what was allocated when the last collection began
}

// after reports whether now is that moment.
func (c *calm) after(now heap) bool {
	before := c.last
	c.last = now
	if now.cycles != before.cycles {
		c.collected = before.allocated
	}
	if float64(now.allocated-before.allocated) >= quiet*float64(now.live) {
		c.busy = true
		return false
	}
	if !c.busy || float64(now.allocated-c.collected) < stale*float64(now.live) {
		return false
	}
	c.busy = false
	return true
}

// heap holds numbers that the runtime knows without scanning the heap.
type heap struct {
	live      uint64 // in use after the last collection, in bytes
	allocated uint64 // since the process began, in bytes
	cycles    uint64 // number of collections
}

func read() heap {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return heap{sample[0].Value.Uint64(), sample[1].Value.Uint64(), sample[2].Value.Uint64()}
}
