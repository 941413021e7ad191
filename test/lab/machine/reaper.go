package machine

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper takes every child that ends, as a first process must: its own and
// those whose parents have gone (a container's shim, for one).
type reaper struct {
	signals chan os.Signal

	mutex sync.Mutex // held from fork to note, so that no end is missed
	ends  map[int]chan<- unix.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{signals: make(chan os.Signal, 1), ends: map[int]chan<- unix.WaitStatus{}}
	signal.Notify(r.signals, unix.SIGCHLD)
	return r
}

// start starts a program. How it ends comes from the channel.
func (r *reaper) start(command *exec.Cmd) (<-chan unix.WaitStatus, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if err := command.Start(); err != nil {
		return nil, err
	}
	end := make(chan unix.WaitStatus, 1)
	r.ends[command.Process.Pid] = end
	return end, command.Process.Release()
}

// run reaps for as long as the process lives.
func (r *reaper) run() {
	for range r.signals {
		r.reap()
	}
}

// reap takes all that have ended: signals of the same number are merged.
func (r *reaper) reap() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if end, ours := r.ends[pid]; ours {
			end <- status
			delete(r.ends, pid)
		}
	}
}
