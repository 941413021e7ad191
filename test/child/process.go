// Package child runs programs for tests. They die with the test process, however
// that ends. Their output goes to a file.
package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Process is a child that dies with this process. Its methods are safe for
// concurrent use.
type Process struct {
	Name string // of the program

	cmd  *exec.Cmd
	log  *logFile
	done chan struct{} // closed when the child has ended
	err  error         // how it ended; read it after done
}

// Start runs a command in dir and logs its output to NAME.log there, so a folder
// can have one child of each name. Start sets the command's folder, output and
// death signal.
func Start(dir string, cmd *exec.Cmd) (*Process, error) {
	name := filepath.Base(cmd.Path)
	log, err := openLog(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, cmd: cmd, log: log, done: make(chan struct{})}
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	return p, nil
}

// run holds its thread until the child has ended, because the kernel sends
// Pdeathsig when the thread that started the child ends, not when the process
// ends.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	if p.err == nil {
		p.err = errors.New("exit status 0")
	}
	close(p.done)
}

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err waits for the child's end and returns its error, which is never nil.
func (p *Process) Err() error {
	<-p.done
	return fmt.Errorf("%s ended: %w", p.Name, p.err)
}

// Kill kills the child at once and returns when it is gone. After SIGTERM
// kube-apiserver would linger for minutes if its etcd is gone. For a nil Process
// it does nothing.
func (p *Process) Kill() {
	if p == nil {
		return
	}
	p.cmd.Process.Kill() //nolint:errcheck // the only error is that it has ended
	<-p.done
	p.log.Close() //nolint:errcheck // nothing is written any more
}

// Signal sends the child a signal.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Tail is the end of the log, after a line with the program's name. For a nil
// Process it is empty.
func (p *Process) Tail() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("--- the end of the log of %s\n%s", p.Name, p.log.tail())
}

// Count is how often the output contains these words. It starts again when the
// log is full, at 16 MiB.
func (p *Process) Count(words string) int { return p.log.count(words) }
