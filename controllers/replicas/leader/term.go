package leader

import (
	"context"
	"sync"
	"time"
)

// A task that ends before its term does is run again after firstRetry, then after
// twice that, up to lastRetry.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// task is work that only the leader does.
type task struct {
	name string
	run  func(context.Context) error
}

// term is the time for which this replica leads, after one election. It may be
// empty.
type term struct {
	elector *Elector

	mu    sync.Mutex
	ended bool
	stop  context.CancelFunc // of the tasks; nil while they do not run
	done  chan struct{}      // closed when they have ended
}

// run runs the tasks until the election's ctx ends, or end is called.
func (t *term) run(ctx context.Context) {
	tasks, ok := t.begin(ctx)
	if !ok {
		return
	}
	e := t.elector
	e.Log.Info("this replica leads", "identity", e.Identity)
	e.leads.Store(true)
	var running sync.WaitGroup
	for _, each := range e.tasks {
		running.Go(func() { e.repeat(tasks, each) })
	}
	<-tasks.Done()
	e.leads.Store(false)
	running.Wait()
	e.Log.Info("this replica leads no more", "identity", e.Identity)
	close(t.done)
}

// begin returns false if the term is over before it began: client-go calls run on
// a goroutine that it does not wait for.
func (t *term) begin(ctx context.Context) (context.Context, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || ctx.Err() != nil {
		return nil, false
	}
	tasks, stop := context.WithCancel(ctx)
	t.stop, t.done = stop, make(chan struct{})
	return tasks, true
}

// end stops the tasks, waits until they have ended, and lets none begin.
func (t *term) end() {
	t.mu.Lock()
	t.ended = true
	stop, done := t.stop, t.done
	t.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
}

// repeat runs a task until ctx ends.
func (e *Elector) repeat(ctx context.Context, each task) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		began := time.Now()
		err := each.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastRetry {
			wait = firstRetry
		}
		e.Log.Error(err, "a task of the leader ended; it is run again", "task", each.name, "after", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
