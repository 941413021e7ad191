package main

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
	go func() { done <- giveBack(ctx, time.Millisecond) }()

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

// released is how much of the heap the system has got back, in bytes.
func released() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
