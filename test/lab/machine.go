package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/lab/machine"
	"github.com/fairwaynet/fairway/test/lab/rack"
)

// Machine is one machine of a lab.
type Machine struct {
	lab  *Lab
	name string
}

// Machine returns the machine of that name: n1, n2, …, control, client, and with
// two fabrics router.
func (l *Lab) Machine(name string) *Machine { return &Machine{lab: l, name: name} }

// Exec runs a command on the machine and returns its output. The test fails if
// the command fails.
func (m *Machine) Exec(t testing.TB, args ...string) string {
	t.Helper()
	printed, err := m.TryExec(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// TryExec is Exec for commands that may fail. The error holds the command's error
// output.
func (m *Machine) TryExec(ctx context.Context, args ...string) (string, error) {
	command, err := m.Command(ctx, args...)
	if err != nil {
		return "", err
	}
	var printed, complaint bytes.Buffer
	command.Stdout, command.Stderr = &printed, &complaint
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return printed.String(), fmt.Errorf("on %s: %s: %w\n%s", m.name, strings.Join(args, " "), err, &complaint)
	}
	return printed.String(), nil
}

// Command is a command to run on the machine. If its process is killed, the
// program dies, too.
func (m *Machine) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	state, err := m.State(ctx)
	if err != nil {
		return nil, err
	}
	if !state.On {
		return nil, fmt.Errorf("%s is off", m.name)
	}
	// The PIDs are those in the rack's namespace, in which this process is not.
	namespaces := fmt.Sprintf("/proc/%d/root/proc/%d/ns/", m.lab.pid, state.PID)
	enter := []string{
		"--mount=" + namespaces + "mnt", "--pid=" + namespaces + "pid", "--net=" + namespaces + "net",
		"--uts=" + namespaces + "uts", "--ipc=" + namespaces + "ipc", "--",
		// nsenter stays outside and waits for a child inside. The child must die
		// with it, because users only see and kill nsenter.
		"setpriv", "--pdeathsig=KILL", "--",
	}
	command := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	command.Env = []string{"PATH=" + machine.Path, "HOME=/root", "TERM=" + os.Getenv("TERM")}
	return command, nil
}

// Signal sends a signal to the program of a command that Command made and that was
// started. The program is the child of the command's own process, which is nsenter. One
// that has ended gets none.
func Signal(command *exec.Cmd, signal syscall.Signal) error {
	program, err := childOf(command.Process.Pid)
	if err != nil {
		return err
	}
	if err := unix.Kill(program, signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("pass %s on: %w", signal, err)
	}
	return nil
}

// childOf is the first child of a process, or the process itself if it has no
// child yet.
func childOf(pid int) (int, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, fmt.Errorf("find the program: %w", err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(children)), " ")
	if first == "" {
		return pid, nil
	}
	return strconv.Atoi(first)
}

// State is the state of the machine.
func (m *Machine) State(ctx context.Context) (rack.State, error) {
	states, err := m.lab.rack.Machines(ctx)
	if err != nil {
		return rack.State{}, err
	}
	for _, state := range states {
		if state.Name == m.name {
			return state, nil
		}
	}
	return rack.State{}, fmt.Errorf("there is no machine %s", m.name)
}

// Rack switches machines, for callers without a test.
func (l *Lab) Rack() *rack.Client { return l.rack }

// Kill switches the machine off hard. It returns when none of its processes is
// left.
func (m *Machine) Kill(t testing.TB) { m.do(t, m.lab.rack.Kill) }

// Boot switches the machine on after Kill. It returns when the machine has begun
// to start.
func (m *Machine) Boot(t testing.TB) { m.do(t, m.lab.rack.Boot) }

// Reboot is Kill and Boot.
func (m *Machine) Reboot(t testing.TB) { m.do(t, m.lab.rack.Reboot) }

// Cut takes the machine's links down, so that they have no carrier.
func (m *Machine) Cut(t testing.TB) { m.do(t, m.lab.rack.Cut) }

// Mend brings the links up again after Cut.
func (m *Machine) Mend(t testing.TB) { m.do(t, m.lab.rack.Mend) }

func (m *Machine) do(t testing.TB, action func(context.Context, string) error) {
	t.Helper()
	if err := m.lab.Switch(t.Context(), action, m.name); err != nil {
		t.Fatal(err)
	}
}

// Switch performs an action on a machine, within a minute.
func (l *Lab) Switch(ctx context.Context, action func(context.Context, string) error, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return action(ctx, name)
}

// LoadImage imports an image from a file into every node that is on.
func (l *Lab) LoadImage(ctx context.Context, path string) error {
	states, err := l.rack.Machines(ctx)
	if err != nil {
		return err
	}
	var failures []error
	for _, state := range states {
		if state.Kind != machine.Node || !state.On {
			continue
		}
		if err := l.Machine(state.Name).loadImage(ctx, path); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

func (m *Machine) loadImage(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("load image: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	command, err := m.Command(ctx, "ctr", "--namespace=k8s.io", "images", "import", "--no-unpack", "-")
	if err != nil {
		return err
	}
	command.Stdin = file
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("load image %s on %s: %w\n%s", path, m.name, err, said)
	}
	return nil
}
