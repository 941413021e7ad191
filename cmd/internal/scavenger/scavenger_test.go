package scavenger

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestMemoryOfAShrunkHeapIsGivenBack(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Run(ctx, time.Millisecond) }()

	const size, part = 64 << 20, 64 << 10
	held := make([][]byte, 0, size/part)
	for range cap(held) {
		held = append(held, make([]byte, part))
	}
	runtime.GC() // as there is one now and then
	kept := released()
	runtime.KeepAlive(held)
	for end := time.Now().Add(10 * time.Second); released() < kept+size/2; {
		if time.Now().After(end) {
			t.Fatalf("%d MiB of %d were given back", (released()-kept)>>20, size>>20)
		}
		runtime.GC()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCalmComesOnceAfterMuchWasDone(t *testing.T) {
	const live = 1000
	for _, tt := range []struct {
		name      string
		allocated []uint64 // at each look
		cycles    []uint64
		calm      int // at which look; -1: never
	}{
		{"nothing happens", []uint64{1000, 1001, 1002, 1003}, []uint64{1, 1, 1, 1}, -1},
		{"little adds up", []uint64{0, 19, 38, 57, 76, 95, 114, 133, 152}, []uint64{1, 1, 1, 1, 1, 1, 1, 1, 1}, -1},
		{"much, then nothing", []uint64{0, 300, 600, 601, 602, 603}, []uint64{1, 1, 1, 1, 1, 1}, 3},
		{"much, collected in the middle", []uint64{0, 300, 600, 601, 602}, []uint64{1, 1, 2, 2, 2}, 3},
		{"some, collected after it", []uint64{0, 50, 51, 52, 53}, []uint64{1, 1, 2, 2, 2}, -1},
		{"it never ends", []uint64{0, 300, 600, 900, 1200}, []uint64{1, 1, 1, 2, 2}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c calm
			c.after(heap{live: live, allocated: tt.allocated[0], cycles: tt.cycles[0]})
			c.busy = false // whatever came before
			got := -1
			for i := range tt.allocated {
				if c.after(heap{live: live, allocated: tt.allocated[i], cycles: tt.cycles[i]}) {
					if got >= 0 {
						t.Errorf("calm at %d and at %d", got, i)
					}
					got = i
				}
			}
			if got != tt.calm {
				t.Errorf("calm at %d, want %d", got, tt.calm)
			}
		})
	}
}

// released is how many bytes of the heap the system has got back.
func released() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
