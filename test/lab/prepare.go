package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/test/lab/rack"
)

// prepare writes all files and starts the rack, which takes over the lock.
func (l *Lab) prepare(ctx context.Context, held *os.File) error {
	if err := os.MkdirAll(l.path("images"), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the API's clients: %w", err)
	}
	defer func() { _ = listener.Close() }() // the rack has its own
	if err := l.putImages(ctx); err != nil {
		return err
	}
	l.say("images are put together")
	if err := l.write(listener.Addr().String()); err != nil {
		return err
	}
	api, err := listener.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("listen for the API's clients: %w", err)
	}
	defer func() { _ = api.Close() }()
	return l.startRack(held, api)
}

// write writes the lab's folder. Clients on the real machine reach the API at
// that address.
func (l *Lab) write(address string) error {
	ca, err := authority.New("lab", lifetime)
	if err != nil {
		return err
	}
	tools, err := toolsDir()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	planner := planner{options: l.Options, dir: l.dir, tools: tools, self: self, authority: ca}
	plan, machines, err := planner.plan()
	if err != nil {
		return err
	}
	for _, machine := range machines {
		if err := machine.Save(); err != nil {
			return err
		}
	}
	if err := plan.Save(); err != nil {
		return err
	}
	config, err := kubeconfig(ca, "https://"+address, "admin", "system:masters")
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.path("kubeconfig"), config, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	options, err := json.Marshal(l.Options)
	if err != nil {
		return fmt.Errorf("write options: %w", err)
	}
	if err := os.WriteFile(l.path("options.json"), options, 0o600); err != nil {
		return fmt.Errorf("write options: %w", err)
	}
	return l.loadKubeconfig()
}

// startRack starts the process that is the lab.
func (l *Lab) startRack(held, api *os.File) error {
	line, lifeline, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start rack: %w", err)
	}
	defer func() { _ = line.Close() }() // the rack has its own
	l.lifeline = lifeline
	log, err := os.Create(l.path("rack.log"))
	if err != nil {
		return fmt.Errorf("start rack: %w", err)
	}
	defer func() { _ = log.Close() }()
	if err := tree(l.Options.Name).Make("rack"); err != nil {
		return err
	}
	command := exec.Command("/proc/self/exe", l.dir)
	command.Args[0] = rackRole
	command.Dir = "/"
	command.Env = []string{"PATH=" + os.Getenv("PATH")}
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{held, api, line}
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, // keeps Ctrl-C away from the lab
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start rack: %w", err)
	}
	l.pid, l.rack, l.ended = command.Process.Pid, rack.NewClient(l.dir), make(chan struct{})
	go func() {
		_ = command.Wait() // rack.log says why
		close(l.ended)
	}()
	return errors.Join(
		tree(l.Options.Name).Enter("rack", l.pid),
		os.WriteFile(l.path("rack.pid"), []byte(strconv.Itoa(l.pid)), 0o600),
	)
}

// letLive lets the lab outlive this process.
func (l *Lab) letLive() error {
	_, err := l.lifeline.Write([]byte{1})
	err = errors.Join(err, l.lifeline.Close())
	l.lifeline = nil
	if err != nil {
		return fmt.Errorf("let the lab live: %w", err)
	}
	return nil
}
