//go:build lab

package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/binary"
)

// labCommand builds the command.
func labCommand(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab")
	if err := binary.Build(t.Context(), path, "test/lab/cmd/lab", []string{"CGO_ENABLED=0"}, "-ldflags", "-s -w"); err != nil {
		t.Fatal(err)
	}
	return path
}

// What an interrupted `up` and a lab that was killed have left is gone after
// the next `up` of another. The lab that is killed has no network, as testBare
// shows before.
func TestTheNextUpRemovesWhatCrashesLeave(t *testing.T) {
	before := look(t)
	command := labCommand(t)

	interrupted := exec.Command(command, "up", "--name=interrupted", "--nodes=1")
	if err := interrupted.Start(); err != nil {
		t.Fatal(err)
	}
	waitForMachines(t, "interrupted", "n1")
	interrupted.Process.Kill()
	interrupted.Wait()
	demandDeath(t, "interrupted")

	if said, err := exec.Command(command, "up", "--name=killed", "--nodes=1").CombinedOutput(); err != nil {
		t.Fatalf("up: %v\n%s", err, said)
	}
	pid, err := rackOf("killed")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dirOf("interrupted")); err == nil {
		t.Error("what the interrupted up has left is still there after the next up")
	}
	t.Run("a lab without a network", func(t *testing.T) {
		l, err := Attach("killed")
		if err != nil {
			t.Fatal(err)
		}
		testBare(t, l)
	})
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	demandDeath(t, "killed")
	if groups, err := tree("killed").Groups(); err != nil || len(groups) == 0 {
		t.Errorf("a killed lab has left %d control groups, %v: this test shows nothing", len(groups), err)
	}

	if err := sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	before.compare(t)
}

// testExec: a program on a machine gets the signals of `lab exec`, which waits for
// it, and dies with it.
func testExec(t *testing.T, l *Lab) {
	command := labCommand(t)
	run := func(script string) (*exec.Cmd, *bufio.Reader) {
		t.Helper()
		c := exec.Command(command, "exec", "--name="+l.Options.Name, "client", "bash", "-c", script)
		c.Stderr = os.Stderr
		printed, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill() })
		out := bufio.NewReader(printed)
		if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("the program says %q, %v", line, err)
		}
		return c, out
	}

	for _, s := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1} {
		c, out := run(fmt.Sprintf(`trap 'echo told; exit 7' %d; echo ready; while :; do sleep 0.05; done`, s))
		if err := c.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if line, err := out.ReadString('\n'); err != nil || line != "told\n" {
			t.Errorf("after %s the program says %q, %v", s, line, err)
		}
		if err := c.Wait(); c.ProcessState.ExitCode() != 7 {
			t.Errorf("after %s: %v, want the program's exit code 7", s, err)
		}
	}

	c, _ := run(`echo ready; exec sleep 12345`)
	if err := c.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); c.ProcessState.ExitCode() != 128+int(unix.SIGTERM) {
		t.Errorf("a program that SIGTERM ends: %v, want exit code 143", err)
	}

	killed, _ := run(`echo ready; exec sleep 54321`)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	l.eventually(t, "the program to die with lab exec", func() bool {
		_, err := l.Machine("client").TryExec(t.Context(), "pgrep", "-f", "sleep 54321")
		return err != nil
	})
}

// waitForMachines returns when a machine has control groups: when it starts.
func waitForMachines(t *testing.T, name, machine string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		if groups, err := tree(name).Below(machine).Groups(); err == nil && len(groups) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the interrupted lab never started its machines")
		}
	}
}

// demandDeath returns when nothing of the lab runs.
func demandDeath(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		processes, err := tree(name).Processes()
		if err != nil {
			t.Fatal(err)
		}
		held, locked := lock(name)
		if locked == nil {
			held.Close()
		}
		if len(processes) == 0 && locked == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d processes of lab %s live on: %v", len(processes), name, processes)
		}
	}
}

func TestUpIsToldWhatIsMissing(t *testing.T) {
	t.Setenv("FAIRWAY_TOOLS", t.TempDir())
	_, err := Up(t.Context(), Options{Name: "nothing"})
	if err == nil {
		t.Fatal("a lab without programs starts")
	}
	for _, word := range []string{"kubelet is not installed", "make tools-lab"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("Up = %v, want that it says %q", err, word)
		}
	}
}
