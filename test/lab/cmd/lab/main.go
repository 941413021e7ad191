// Command lab runs a Kubernetes of several machines on this machine. It is wiring
// only: package lab does the work.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/test/lab"
)

func main() {
	lab.Main()
	os.Exit(run()) //nolint:forbidigo // the shell needs the exit code
}

// run runs one command and returns the exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := findTools(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	err := command().ExecuteContext(ctx)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && err == error(exit) { //nolint:errorlint // one that is part of another was not printed
		return exitCode(exit) // the command has printed the error itself
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return 0
}

// exitCode is the exit code that a shell would report for a command: its own, or
// 128 plus the number of the signal that ended it.
func exitCode(exit *exec.ExitError) int {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// findTools makes the command work from any folder, because bin/lab lies beside
// .tools.
func findTools() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	beside := filepath.Join(filepath.Dir(self), "../.tools")
	if _, err := os.Stat(beside); err == nil && os.Getenv("FAIRWAY_TOOLS") == "" {
		return os.Setenv("FAIRWAY_TOOLS", beside)
	}
	return nil // the tools are found already
}

func command() *cobra.Command {
	var name string
	root := &cobra.Command{
		Use:           "lab",
		Short:         "A Kubernetes of several machines on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&name, "name", "lab", "name of the lab on this machine")
	root.AddCommand(
		upCommand(&name), downCommand(&name), statusCommand(&name),
		shellCommand(&name), execCommand(&name), kubectlCommand(&name),
		logsCommand(&name), loadCommand(&name), e2eCommand(&name),
	)
	for _, s := range switches {
		root.AddCommand(s.command(&name))
	}
	return root
}
