package ranges

import (
	"context"
	"time"
)

// bell wakes one that waits. Rings are not counted.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// await returns false if ctx ended.
func (b bell) await(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-b:
		return true
	}
}

// within is await that also returns after a while.
func (b bell) within(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-b:
	case <-time.After(d):
	}
	return true
}

// wait returns false if ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
