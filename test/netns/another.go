package netns

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a further network namespace, such as that of a pod. One thread of this
// process is in it and keeps it alive.
type Namespace struct {
	// Path leads to it until it ends.
	Path string

	work chan func()
	end  sync.Once
	gone sync.WaitGroup
}

// New makes a network namespace with a loopback device that is up. It ends with the test.
func New(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{work: make(chan func())}
	ready := make(chan error, 1)
	n.gone.Go(func() {
		runtime.LockOSThread() // and the thread ends with the function
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = set(nil)
		}
		n.Path = fmt.Sprintf("/proc/%d/task/%d/ns/net", unix.Getpid(), unix.Gettid())
		ready <- err
		for do := range n.work {
			do()
		}
	})
	t.Cleanup(n.End)
	if err := <-ready; err != nil {
		t.Fatal(fmt.Errorf("make a network namespace: %w", err))
	}
	return n
}

// Do runs a function in the namespace; nil is that of the caller. Sockets that it opens stay
// in it.
func (n *Namespace) Do(do func()) {
	if n == nil {
		do()
		return
	}
	done := make(chan struct{})
	n.work <- func() { defer close(done); do() }
	<-done
}

// End ends the namespace, as the end of a pod does. The kernel removes it a moment later.
func (n *Namespace) End() {
	n.end.Do(func() { close(n.work) })
	n.gone.Wait()
}
