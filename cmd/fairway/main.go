// Command fairway is Fairway in one binary. Apart from this file and the
// settings, each file here is one command. It only wires together the packages
// that do the work.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes. check has another one for Problems.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, calledAs(os.Args), streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// calledAs are the arguments of a command line. kubectl completes the arguments of a plugin by
// a program of another name, which is a link to this one.
func calledAs(line []string) []string {
	if programName(line[0]) == "kubectl_complete-fairway" {
		return append([]string{cobra.ShellCompRequestCmd}, line[1:]...)
	}
	return line[1:]
}

// displayName is how users call the program: "kubectl fairway" where it is kubectl's plugin.
func displayName(program string) string {
	if strings.HasPrefix(programName(program), "kubectl") {
		return "kubectl fairway"
	}
	return "fairway"
}

func programName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".exe") }

// streams are the input and output of a command. Out takes the requested output,
// Err everything else.
type streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// exit is an error that ends the process with its own exit code. Without a cause
// nothing is printed, because the command has already printed everything.
type exit struct {
	code  int
	cause error
	hint  bool // whether to point to --help
}

func (e exit) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e exit) Unwrap() error { return e.cause }

// usage marks an error in the command line.
func usage(err error) error { return exit{code: exitUsage, cause: err, hint: true} }

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, std streams) int {
	root := command(std) //nolint:contextcheck // commands get the context from cobra
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
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: displayName(os.Args[0])},
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

// arguments makes every error of check a usage error.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage(err)
		}
		return nil
	}
}

// wants makes every error of check a usage error that says what to give.
func wants(what string, check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage(fmt.Errorf("give %s, not %d", what, len(args)))
		}
		return nil
	}
}

// commands are all commands of fairway.
func commands(std streams) []*cobra.Command {
	return append(nodeCommands(std),
		controllerCommand(std),
		gatewayCommand(std),
		serveCommand(std),
		checkCommand(std),
		explainCommand(std),
		statusCommand(std),
		requestCommand(std),
		versionCommand(std),
	)
}
