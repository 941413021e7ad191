package acme

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child that dies with this process.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *log
	done chan struct{} // closed when the child has ended
	err  error         // how it ended; read it after done
}

func start(name, path string, env []string, flags ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(path, flags...), log: &log{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = time.Second
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
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

func (p *process) kill() {
	if p == nil {
		return
	}
	p.cmd.Process.Kill() //nolint:errcheck // the only error is that it has ended
	<-p.done
}

// maxLog bounds what is kept of a log; Pebble writes some hundred bytes a
// request.
const maxLog = 16 << 20

// log is what a program has said.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len()+len(p) <= maxLog {
		l.text.Write(p)
	}
	return len(p), nil
}

func (l *log) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// tail is the last lines.
func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 8 << 10
	text := l.text.String()
	if len(text) > most {
		text = text[len(text)-most:]
		text = text[strings.Index(text, "\n")+1:]
	}
	return text
}
