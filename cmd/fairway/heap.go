package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// weighEvery is how often the heap's size is looked at, which costs
	// microseconds.
	weighEvery = 5 * time.Second
	// quiet is the part of the live heap below which what is allocated between two
	// looks is next to nothing, and stale that above which what was allocated
	// since the last collection is worth another one.
	quiet, stale = 0.02, 0.1
	// shrunk is the part of its largest size at which a heap counts as shrunk,
	// and steady that of its last one above which it does not shrink any more.
	shrunk, steady = 0.7, 0.95
)

// giveBack returns memory to the system when the heap has shrunk much, and for as
// long as it goes on shrinking, until ctx ends. Go would keep it for the next
// time; after many hosts were deleted there is none. It looks every so often.
func giveBack(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	largest, shrinking := uint64(0), true // a start leaves much behind
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

// calm finds the moment at which there is little to do after much was done. What
// was deleted is found by a collection only, and with little to do there may be
// none for two minutes.
type calm struct {
	last      heap
	busy      bool   // since the last such moment
	collected uint64 // what had been allocated, at least, when the last collection began
}

// after reports whether that moment is now, when the heap is as it is.
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

// heap is what is known of the heap without looking through it.
type heap struct {
	live      uint64 // what the last collection found in use, in bytes
	allocated uint64 // since the process began, in bytes
	cycles    uint64 // collections
}

func read() heap {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return heap{sample[0].Value.Uint64(), sample[1].Value.Uint64(), sample[2].Value.Uint64()}
}
