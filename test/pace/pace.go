// Package pace gives work to workers at an even rate. It knows nothing of the work.
package pace

import (
	"context"
	"sync"
	"time"
)

// Run lets so many workers take a number whenever a piece of work is due, rate times a
// second, until ctx ends. If no worker is free it waits, so that a slow machine lowers
// the rate and no queue builds up. It does not catch up after a stall of this process
// either. It returns how long that took when all workers have returned, which they do at
// the end of due.
func Run(ctx context.Context, rate float64, workers int, work func(due <-chan int)) time.Duration {
	began := time.Now()
	due := make(chan int)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() { work(due) })
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	n := 0
	for sent := 0.0; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		want := time.Since(began).Seconds() * rate
		for sent = max(sent, want-rate/10); sent < want && ctx.Err() == nil; sent++ {
			select {
			case due <- n:
				n++
			case <-ctx.Done():
			}
		}
	}
	close(due)
	running.Wait()
	return time.Since(began)
}
