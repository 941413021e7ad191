package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// home is the folder for running labs. It must not be on an overlay file system.
func home() string {
	if dir := os.Getenv("FAIRWAY_LAB"); dir != "" {
		return dir
	}
	return "/var/lib/fairway-lab"
}

func dirOf(name string) string { return filepath.Join(home(), name) }

// ErrRuns means that a lab of that name runs, or is being started.
var ErrRuns = errors.New("the lab runs")

// lock is held by the process that starts or removes a lab, and then by the lab's
// rack as long as it lives. A lab whose lock is free is dead.
func lock(name string) (*os.File, error) {
	if err := os.MkdirAll(home(), 0o755); err != nil {
		return nil, fmt.Errorf("lock lab %s: %w", name, err)
	}
	path := dirOf(name) + ".lock"
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock lab %s: %w", name, err)
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(ErrRuns, file.Close())
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock lab %s: %w", name, err), file.Close())
		}
		is, err := os.Stat(path)
		mine, err2 := file.Stat()
		if err == nil && err2 == nil && os.SameFile(is, mine) {
			return file, nil
		}
		_ = file.Close() // another process has removed it in the meantime
	}
}

// down ends the named lab and removes all of it. It does nothing if there is no
// such lab.
func down(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		held, err := lock(name)
		if err == nil {
			return errors.Join(remove(ctx, name), unlock(name, held))
		}
		if !errors.Is(err, ErrRuns) {
			return err
		}
		if pid, err := rackOf(name); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended just now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("end lab %s: %w", name, ctx.Err())
		}
	}
}

// rackOf is the process that holds the lab's lock.
func rackOf(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dirOf(name), "rack.pid"))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return 0, err
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return 0, err
	}
	if string(command) != rackRole+"\x00"+dirOf(name)+"\x00" {
		return 0, fmt.Errorf("process %d has ended, and another process has its number", pid)
	}
	return pid, nil
}

// remove removes what a dead lab has left. It removes the control groups first
// and then the folder, so that a second attempt still finds the rest.
func remove(ctx context.Context, name string) error {
	if err := killAll(name); err != nil {
		return err
	}
	if err := tree(name).Remove(ctx); err != nil {
		return err
	}
	cgroups.Prune()
	if err := os.RemoveAll(dirOf(name)); err != nil {
		return fmt.Errorf("remove lab %s: %w", name, err)
	}
	return nil
}

// killAll kills the remaining processes in the lab's control groups. The kernel
// has ended those in the rack's PID namespace; these were put into the groups
// from outside.
func killAll(name string) error {
	found, err := tree(name).Processes()
	if err != nil {
		return err
	}
	for pid := range found {
		if pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
	return nil
}

// unlock releases the lock. It removes the lock's file first, while it still
// holds the lock.
func unlock(name string, held *os.File) error {
	err := os.Remove(dirOf(name) + ".lock")
	_ = os.Remove(home()) // if this was the last lab
	return errors.Join(err, held.Close())
}

// sweep removes dead labs and leaves running ones alone.
func sweep(ctx context.Context) error {
	entries, err := os.ReadDir(home())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for labs that have died: %w", err)
	}
	var failures []error
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".lock")
		if !names.MatchString(name) {
			continue
		}
		held, err := lock(name)
		if errors.Is(err, ErrRuns) {
			continue
		}
		if err == nil {
			err = errors.Join(remove(ctx, name), unlock(name, held))
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("remove lab %s, which has died: %w", name, err))
		}
	}
	return errors.Join(failures...)
}
