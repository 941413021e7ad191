// Command fairway is Fairway in one binary. Every file here but this one and
// the settings is one command, and is wiring only: what is done stands in the
// packages that the commands put together.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes. That of check for Problems is one of its own.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// streams are what a command reads and writes. Out is for what it was asked
// for, Err for everything that it has to say.
type streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// exit is an error that ends the process with a code of its own. Without a
// cause nothing is printed: the command has said it all.
type exit struct {
	code  int
	cause error
	hint  bool // whether --help would have helped
}

func (e exit) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e exit) Unwrap() error { return e.cause }

// usage is a mistake in how a command was called.
func usage(err error) error { return exit{code: exitUsage, cause: err, hint: true} }

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, std streams) int {
	root := command(std) //nolint:contextcheck // commands get it from cobra
	root.SetArgs(args)
	called, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var end exit
	if !errors.As(err, &end) {
		end = exit{code: exitFailed, cause: err}
	}
	if end.cause != nil {
		fmt.Fprintf(std.Err, "fairway: %v\n", end.cause)
	}
	if end.hint {
		fmt.Fprintf(std.Err, "See '%s --help'.\n", called.CommandPath())
	}
	return end.code
}

func command(std streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "fairway",
		Short:         "The road from the wire to the pod",
		Version:       versionLine(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          arguments(cobra.NoArgs),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(std.In)
	root.SetOut(std.Out)
	root.SetErr(std.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(commands(std)...)
	return root
}

// arguments makes what check refuses a mistake in usage.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage(err)
		}
		return nil
	}
}

// wants makes what check refuses a mistake in usage that says what to give.
func wants(what string, check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage(fmt.Errorf("give %s, not %d", what, len(args)))
		}
		return nil
	}
}

// commands are all that fairway can do.
func commands(std streams) []*cobra.Command {
	return []*cobra.Command{
		controllerCommand(std),
		gatewayCommand(std),
		serveCommand(std),
		checkCommand(std),
		explainCommand(std),
		statusCommand(std),
		versionCommand(std),
	}
}
