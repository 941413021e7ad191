// Command lab runs a Kubernetes of several machines on this machine. It is
// wiring only: package lab does it.
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
	os.Exit(run()) //nolint:forbidigo // somebody must tell the shell how it went
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
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exitCode(exit) // it has said itself what is wrong
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return 0
}

// exitCode is what a shell would say of a command that has ended: its exit code,
// or 128 and the number of the signal that ended it.
func exitCode(exit *exec.ExitError) int {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// findTools lets the command work from any folder: bin/lab stands beside .tools.
func findTools() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	beside := filepath.Join(filepath.Dir(self), "../.tools")
	if _, err := os.Stat(beside); err == nil && os.Getenv("FAIRWAY_TOOLS") == "" {
		return os.Setenv("FAIRWAY_TOOLS", beside)
	}
	return nil // it is in the repository, or told where they are
}

func command() *cobra.Command {
	var name string
	root := &cobra.Command{
		Use:           "lab",
		Short:         "A Kubernetes of several machines on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&name, "name", "lab", "which lab, of those on this machine")
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
