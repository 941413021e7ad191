package machine

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper reaps every child that ends, as PID 1 must: its own children and
// orphans, such as those of a container's shim.
type reaper struct {
	signals chan os.Signal

	mutex sync.Mutex // held from fork to note, so that the reaper misses no end
	ends  map[int]chan<- unix.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{signals: make(chan os.Signal, 1), ends: map[int]chan<- unix.WaitStatus{}}
	signal.Notify(r.signals, unix.SIGCHLD)
	return r
}

// start starts a program. The channel delivers the exit status.
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

// reap reaps all children that have ended, because the kernel merges signals of
// the same number.
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
