package rack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/lab/machine"
)

// The file descriptors that a rack inherits.
const (
	lockFile = 3 // locked for as long as the rack lives
	apiFile  = 4 // the API's listener on the real machine
	lineFile = 5 // a byte means live on; end of file without one means end
)

// MachineRole is the name under which a rack starts this program as a
// machine's first process, with the machine's folder as its only argument.
const MachineRole = "fairway-lab:machine"

// Run is the rack whose folder is dir. It is the first process of new PID, mount,
// network, IPC and UTS namespaces. It returns only if it cannot work.
func Run(ctx context.Context, dir string) error {
	unix.CloseOnExec(lockFile)
	unix.CloseOnExec(apiFile)
	unix.CloseOnExec(lineFile)
	go holdLine(os.NewFile(lineFile, "lifeline"))
	plan, err := LoadPlan(dir)
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := addFabrics(plan); err != nil {
		return err
	}
	r := &rack{plan: plan, api: os.NewFile(apiFile, "api"), machines: map[string]*slot{}}
	for _, name := range plan.Machines {
		spec, err := machine.Load(MachineDir(dir, name))
		if err != nil {
			return err
		}
		r.machines[name] = &slot{rack: r, spec: spec}
	}
	for _, name := range plan.Machines {
		if err := r.machines[name].boot(ctx); err != nil {
			return err
		}
	}
	return r.serve(ctx)
}

// holdLine ends the rack, and with it the lab, if its starter dies before it has
// told the lab to live on.
func holdLine(line *os.File) {
	if _, err := io.ReadFull(line, make([]byte, 1)); err != nil {
		os.Exit(0) //nolint:forbidigo // nothing needs cleaning up
	}
}

type rack struct {
	plan     Plan
	api      *os.File
	machines map[string]*slot
}

// serve answers requests to switch machines.
func (r *rack) serve(ctx context.Context) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", filepath.Join(r.plan.Dir, socketFile))
	if err != nil {
		return fmt.Errorf("listen for requests: %w", err)
	}
	server := &http.Server{Handler: r.handler(), ReadHeaderTimeout: time.Minute}
	return server.Serve(listener)
}

// slot is a machine's place in the rack.
type slot struct {
	rack *rack
	spec *machine.Spec

	mutex   sync.Mutex // one switch at a time
	process *os.Process
	ended   chan struct{} // closed when the process has ended
	since   time.Time
	cut     bool
}

// group is the control group of the machine's own processes. Those of pods are
// beside it.
func (s *slot) group() string { return filepath.Join(s.spec.Name, "system") }

// boot switches the machine on. It does nothing if the machine is on already.
func (s *slot) boot(ctx context.Context) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.on() {
		return nil
	}
	// These are pods' groups from before the machine was switched off.
	if err := s.rack.plan.Cgroups.Below(s.spec.Name).Remove(ctx); err != nil {
		return err
	}
	if err := s.rack.plan.Cgroups.Make(s.group()); err != nil {
		return err
	}
	waits, begin, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("boot %s: %w", s.spec.Name, err)
	}
	defer func() { _ = begin.Close() }() // the machine has read it by now, or waits in vain
	log, err := os.OpenFile(filepath.Join(s.spec.Dir, "boot.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("boot %s: %w", s.spec.Name, err)
	}
	command := s.command(waits, log)
	if err := errors.Join(command.Start(), waits.Close(), log.Close()); err != nil {
		return fmt.Errorf("boot %s: %w", s.spec.Name, err)
	}
	s.watch(command)
	if err := s.release(begin); err != nil {
		_ = s.process.Kill() // it would wait in vain
		<-s.ended
		return errors.Join(err, unplug(s.spec))
	}
	return nil
}

// command starts the machine's first process.
func (s *slot) command(waits, log *os.File) *exec.Cmd {
	command := exec.Command("/proc/self/exe", s.spec.Dir)
	command.Args[0] = MachineRole
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{waits}
	if s.spec.Forward != "" {
		command.ExtraFiles = append(command.ExtraFiles, s.rack.api)
	}
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	return command
}

// watch waits for the end of the machine's first process.
func (s *slot) watch(command *exec.Cmd) {
	ended := make(chan struct{})
	s.process, s.ended, s.since, s.cut = command.Process, ended, time.Now(), false
	go func() {
		_ = command.Wait() // boot.log says why
		close(ended)
	}()
}

// release puts the machine into its cgroup, connects its links, and lets it
// begin.
func (s *slot) release(begin *os.File) error {
	if err := s.rack.plan.Cgroups.Enter(s.group(), s.process.Pid); err != nil {
		return err
	}
	if err := plug(s.spec, s.process.Pid); err != nil {
		return err
	}
	if _, err := begin.Write([]byte{1}); err != nil {
		return fmt.Errorf("boot %s: %w", s.spec.Name, err)
	}
	return nil
}

// on reports whether the machine runs.
func (s *slot) on() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// kill switches the machine off hard. It returns when none of its processes is
// left.
func (s *slot) kill() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.process != nil {
		_ = s.process.Kill() // it may have ended by itself
		<-s.ended
	}
	return unplug(s.spec)
}

// carry switches the machine's ports on or off.
func (s *slot) carry(on bool) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.on() {
		return fmt.Errorf("%s is off", s.spec.Name)
	}
	if err := carry(s.spec, on); err != nil {
		return err
	}
	s.cut = !on
	return nil
}
