package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/lab"
)

// passedOn are the signals that attend passes on to its command: those that
// people and programs usually send.
var passedOn = []os.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
}

// attend runs a command made by lab.Machine.Command until its program ends. It
// passes the signals of this process on to the program. The program dies with
// this process.
func attend(command *exec.Cmd) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, passedOn...)
	defer signal.Stop(signals)
	// The kernel sends the signal when the thread that has started the command
	// ends, so this thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return fmt.Errorf("run %s: %w", command.Path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			if err := passOn(command, s); err != nil {
				fmt.Fprintln(os.Stderr, "lab:", err)
			}
		}
	}
}

// passOn sends a signal to the program on the machine. If a terminal has sent the
// signal to its whole foreground, the program has it already.
func passOn(command *exec.Cmd, s os.Signal) error {
	number, ok := s.(syscall.Signal)
	if !ok || fromTerminal(number) {
		return nil
	}
	return lab.Signal(command, number)
}

// fromTerminal reports whether a terminal has sent the signal. A terminal's keys
// send only these two, and only to processes in its foreground.
func fromTerminal(s syscall.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	foreground, err := unix.IoctlGetInt(int(os.Stdin.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}
