package machine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Path is $PATH on a machine. The lab's programs come before the real machine's.
const Path = BinDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// BinDir is the folder of the lab's programs on a machine.
const BinDir = "/opt/lab/bin"

// again is the delay before a program that has ended is restarted.
const again = time.Second

// runner runs the machine's programs.
type runner struct {
	log      *slog.Logger
	children *reaper
}

// run starts the programs in order. It returns when it has started the last one.
func (r *runner) run(ctx context.Context, programs []Program) {
	for _, p := range programs {
		if p.Needs != "" {
			await(ctx, p.Needs)
		}
		if p.Once != "" {
			r.once(ctx, p)
			continue
		}
		go r.keep(ctx, p)
		if p.Ready != "" {
			await(ctx, p.Ready)
			r.log.Info("ready", "program", p.Name)
		}
	}
}

// once runs a program until it succeeds.
func (r *runner) once(ctx context.Context, p Program) {
	if _, err := os.Stat(p.Once); err == nil {
		return
	}
	for {
		began := time.Now()
		status, err := r.start(ctx, p)
		if err == nil && status == 0 {
			err = mark(p.Once)
		}
		r.log.Info("done", "program", p.Name, "took", time.Since(began), "status", int(status), "error", err)
		if err == nil && status == 0 {
			return
		}
		wait(again)
	}
}

// keep restarts a program whenever it ends.
func (r *runner) keep(ctx context.Context, p Program) {
	for {
		r.log.Info("start", "program", p.Name)
		status, err := r.start(ctx, p)
		r.log.Info("ended", "program", p.Name, "status", int(status), "error", err)
		wait(again)
	}
}

// start runs a program to its end.
func (r *runner) start(ctx context.Context, p Program) (unix.WaitStatus, error) {
	log, err := os.OpenFile(logPath(p.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }() // the child has its own
	command := exec.CommandContext(context.WithoutCancel(ctx), p.Path, p.Args...)
	if p.Argv0 != "" {
		command.Args[0] = p.Argv0
	}
	command.Env = []string{"PATH=" + Path, "HOME=/root"}
	command.Stdout, command.Stderr = log, log
	ended, err := r.children.start(command)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", p.Name, err)
	}
	return <-ended, nil
}

func mark(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o644)
}

func wait(d time.Duration) { <-time.After(d) }
