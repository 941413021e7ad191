package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/tools"
)

// started counts the labs of this process, to give each a name.
var started atomic.Int32

// Start runs a lab until the test ends. The lab dies with this process, however
// that ends. If the test failed, the output includes the cluster's objects and
// the last lines of its logs. TestMain must call Main.
func Start(t testing.TB, options Options) *Lab {
	t.Helper()
	if options.Name == "" {
		options.Name = fmt.Sprintf("test-%d-%d", os.Getpid(), started.Add(1))
	}
	if options.Progress == nil {
		options.Progress = t.Output()
	}
	options.mortal = true
	l, err := Up(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, gone := os.Stat(l.dir); t.Failed() && gone == nil {
			t.Log(l.describe(), l.lastWords())
		}
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Kubectl runs the real kubectl as the administrator, with stdin as its input,
// and returns what it printed. The test fails when kubectl does.
func (l *Lab) Kubectl(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	printed, err := l.TryKubectl(t.Context(), stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// TryKubectl is Kubectl for commands that may fail. The error holds kubectl's
// error output.
func (l *Lab) TryKubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	command, err := l.KubectlCommand(ctx, args...)
	if err != nil {
		return "", err
	}
	var printed, complaint bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &printed, &complaint
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return printed.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, &complaint)
	}
	return printed.String(), nil
}

// KubectlCommand is kubectl, as the administrator.
func (l *Lab) KubectlCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	path, err := tools.Find("kubectl")
	if err != nil {
		return nil, err
	}
	flags := []string{"--kubeconfig=" + l.Kubeconfig, "--cache-dir=" + l.path("kubectl")}
	return exec.CommandContext(ctx, path, append(flags, args...)...), nil
}

// describe lists the objects in the cluster.
func (l *Lab) describe() string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all strings.Builder
	for _, args := range [][]string{
		{"get", "nodes", "-o", "wide"},
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
	} {
		printed, err := l.TryKubectl(ctx, "", args...)
		if err != nil {
			printed = err.Error() + "\n"
		}
		fmt.Fprintf(&all, "\n--- kubectl %s\n%s", strings.Join(args, " "), last(printed, 40))
	}
	return all.String()
}

// lastWords are the ends of the lab's logs.
func (l *Lab) lastWords() string {
	var all strings.Builder
	for _, path := range l.logs() {
		content, err := os.ReadFile(path)
		if err != nil || len(content) == 0 {
			continue
		}
		name, _ := filepath.Rel(l.dir, path)
		fmt.Fprintf(&all, "\n--- the end of %s\n%s", name, last(string(content), 12))
	}
	return all.String()
}

// Logs are the log files of programs on machines; "*" matches any.
func (l *Lab) Logs(machine, program string) []string {
	found, _ := filepath.Glob(filepath.Join(l.dirOf(machine), "log", program+".log")) // the pattern is well-formed
	return found
}

// logs are all log files of the lab.
func (l *Lab) logs() []string {
	boots, _ := filepath.Glob(filepath.Join(l.dirOf("*"), "boot.log")) // the pattern is well-formed
	return slices.Concat([]string{l.path("rack.log")}, boots, l.Logs("*", "*"))
}

// last are the last lines of a text.
func last(text string, lines int) string {
	all := slices.Collect(strings.Lines(text))
	return strings.Join(all[max(0, len(all)-lines):], "")
}
