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
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/test/lab"
)

func main() {
	lab.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.ExitCode()) // it has said itself what is wrong
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
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
