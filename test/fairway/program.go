package fairway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/binary"
)

// Program is a process that ends with the test.
type Program struct {
	name    string
	command *exec.Cmd
	log     *tail
	ended   chan struct{}
	failure error // of Wait, valid once ended is closed
}

// build builds the fairway command, once per process.
func build(t testing.TB) string {
	t.Helper()
	built.Do(func() { built.path, built.err = buildFairway() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

var built struct {
	sync.Once
	path string
	err  error
}

// buildFairway puts the command beside the test binary, in the folder that "go
// test" makes and removes for it.
func buildFairway() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the test binary: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), "fairway")
	if err := binary.Build(context.Background(), path, "cmd/fairway", nil, "-ldflags", "-s -w"); err != nil {
		return "", err
	}
	return path, nil
}

// Run runs a program other than fairway until the test ends.
func Run(t testing.TB, name, path string, args ...string) *Program {
	t.Helper()
	return startProgram(t, t, name, nil, path, args...)
}

// Fairway runs the command until the test ends. It adds env to the test's own
// environment.
func Fairway(t testing.TB, name string, env []string, args ...string) *Program {
	t.Helper()
	return startProgram(t, t, name, nil, "/usr/bin/env", append(append(env, build(t)), args...)...)
}

// startProgram runs a program until the test owner ends. If heard is not nil, it
// gets each line of the output.
func startProgram(t, owner testing.TB, name string, heard func(line string), path string, args ...string) *Program {
	t.Helper()
	p := &Program{name: name, command: exec.Command(path, args...), log: &tail{}, ended: make(chan struct{})}
	said := io.Writer(p.log)
	if heard != nil {
		said = io.MultiWriter(p.log, &lineWriter{line: heard})
	}
	p.command.Stdout, p.command.Stderr = said, said
	if err := p.command.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.failure = p.command.Wait()
		close(p.ended)
	}()
	owner.Cleanup(func() {
		p.Kill()
		if complaints := p.Complaints(); len(complaints) > 0 {
			owner.Errorf("%s says what it never should:\n%s", name, strings.Join(complaints, "\n"))
		}
		if owner.Failed() {
			owner.Logf("last words of %s:\n%s", name, p.log)
		}
	})
	return p
}

// bad are words in log lines that no test expects: missing rights, rejections by
// Envoy, and crashes.
var bad = []string{"forbidden", "defect of ours", "envoy refused", "panic", "DATA RACE"}

// Complaints are the lines with bad words, without those that the test tolerates.
func (p *Program) Complaints() []string { return p.log.complaints() }

// Tolerate marks lines with these words as expected.
func (p *Program) Tolerate(words ...string) { p.log.tolerate(words) }

// Kill ends the program at once.
func (p *Program) Kill() {
	_ = p.command.Process.Kill() // it may have ended
	<-p.ended
}

// Stop asks the program to end and returns how it ended.
func (p *Program) Stop(t testing.TB, within time.Duration) error {
	t.Helper()
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
		return p.failure
	case <-time.After(within):
		t.Fatalf("%s does not end within %s of SIGTERM", p.name, within)
		return nil
	}
}

// Signal sends a signal to the program.
func (p *Program) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		t.Fatalf("signal %s: %v", p.name, err)
	}
}

// Wait waits for the program's end and returns how it ended.
func (p *Program) Wait() error {
	<-p.ended
	return p.failure
}

// Log is the end of the program's output.
func (p *Program) Log() string { return p.log.String() }

// PID is the program's process.
func (p *Program) PID() int { return p.command.Process.Pid }

// RSS is the program's resident memory in bytes.
func (p *Program) RSS(t testing.TB) int64 { return rss(t, p.PID()) }

func rss(t testing.TB, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("process %d has no VmRSS", pid)
	return 0
}

// tail keeps the end of what is written to it.
type tail struct {
	mu        sync.Mutex
	text      bytes.Buffer
	bad       []string // the first lines with words of bad
	tolerated []string
}

const (
	maxTail = 64 << 10 // bytes
	maxBad  = 1000     // lines
)

func (l *tail) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() > maxTail {
		l.text.Next(l.text.Len() - maxTail/2)
	}
	for line := range strings.Lines(string(text)) {
		if contains(line, bad) && len(l.bad) < maxBad {
			l.bad = append(l.bad, strings.TrimSpace(line))
		}
	}
	return l.text.Write(text)
}

// complaints leaves out what is tolerated.
func (l *tail) complaints() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, line := range l.bad {
		if !contains(line, l.tolerated) {
			lines = append(lines, line)
		}
	}
	return lines
}

func (l *tail) tolerate(words []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tolerated = append(l.tolerated, words...)
}

func contains(line string, words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(line, word) })
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
