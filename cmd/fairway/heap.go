package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// weighEvery is how often the heap's size is looked at, which costs
	// microseconds.
	weighEvery = 5 * time.Second
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		before := liveHeap()
		largest = max(largest, before)
		if !shrinking && float64(before) >= shrunk*float64(largest) {
			continue
		}
		debug.FreeOSMemory()
		largest = liveHeap()
		shrinking = float64(largest) < steady*float64(before)
	}
}

// liveHeap is what the last garbage collection found in use, in bytes. There is
// a collection every two minutes at least.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
