package cluster

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// process is a child that dies with this process.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *logFile
	done chan struct{} // closed when the child has ended
	err  error         // how it ended; read it after done
}

// start runs a program that logs to NAME.log in dir.
func start(name, dir, path string, flags ...string) (*process, error) {
	log, err := openLog(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: exec.Command(path, flags...), log: log, done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = time.Second
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	return p, nil
}

// run holds its thread until the child has ended, because the kernel sends
// Pdeathsig when the thread that started the child ends, not the process.
func (p *process) run(started chan<- error) {
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

// kill ends the child at once and returns when it is gone. Asked politely,
// kube-apiserver would linger for minutes when its etcd is away.
func (p *process) kill() {
	if p == nil {
		return
	}
	p.cmd.Process.Kill() //nolint:errcheck // the only error is that it has ended
	<-p.done
	p.log.Close() //nolint:errcheck // nothing is written any more
}

// tail is the end of the log, under a line that names the process.
func (p *process) tail() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("--- the end of the log of %s\n%s", p.name, p.log.tail())
}
