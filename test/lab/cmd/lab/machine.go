package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/test/lab"
)

// switching is an action on a machine from outside.
type switching struct {
	use, short string
	do         func(*lab.Lab) func(context.Context, string) error
}

var switches = []switching{
	{"kill", "Take a machine's power away", func(l *lab.Lab) func(context.Context, string) error { return l.Rack().Kill }},
	{"boot", "Give power back", func(l *lab.Lab) func(context.Context, string) error { return l.Rack().Boot }},
	{"reboot", "Take a machine's power away and give it back", func(l *lab.Lab) func(context.Context, string) error { return l.Rack().Reboot }},
	{"cut", "Take a machine's links down", func(l *lab.Lab) func(context.Context, string) error { return l.Rack().Cut }},
	{"mend", "Bring a machine's links up again", func(l *lab.Lab) func(context.Context, string) error { return l.Rack().Mend }},
}

func (s switching) command(name *string) *cobra.Command {
	return &cobra.Command{
		Use: s.use + " MACHINE", Short: s.short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			return l.Switch(cmd.Context(), s.do(l), args[0])
		},
	}
}

func shellCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "shell MACHINE",
		Short: "A shell on a machine",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			shell := os.Getenv("SHELL")
			if shell == "" {
				shell = "/bin/sh"
			}
			return attendOn(cmd.Context(), *name, args[0], shell)
		},
	}
}

func execCommand(name *string) *cobra.Command {
	command := &cobra.Command{
		Use:   "exec MACHINE COMMAND...",
		Short: "Run a command on a machine",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			machine, rest := args[0], args[1:]
			if rest[0] == "--" {
				rest = rest[1:]
			}
			return attendOn(cmd.Context(), *name, machine, rest...)
		},
	}
	command.Flags().SetInterspersed(false) // later flags belong to the command
	return command
}

// attendOn runs a command on the machine, with this process's terminal. The
// command ends by itself or by a signal that is passed on, not with ctx.
func attendOn(ctx context.Context, name, machine string, args ...string) error {
	l, err := lab.Attach(name)
	if err != nil {
		return err
	}
	command, err := l.Machine(machine).Command(context.WithoutCancel(ctx), args...)
	if err != nil {
		return err
	}
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	return attend(command)
}

// become replaces this process with the command, so that the command has the
// terminal and sets the exit code.
func become(command *exec.Cmd) error {
	if command.Err != nil {
		return command.Err
	}
	env := command.Env
	if env == nil {
		env = os.Environ()
	}
	if err := syscall.Exec(command.Path, command.Args, env); err != nil {
		return fmt.Errorf("run %s: %w", command.Path, err)
	}
	return nil
}

func kubectlCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl ARGUMENTS...",
		Short:              "kubectl, as the administrator",
		DisableFlagParsing: true, // the flags are kubectl's
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Attach(nameOf(&args, *name))
			if err != nil {
				return err
			}
			command, err := l.KubectlCommand(cmd.Context(), args...)
			if err != nil {
				return err
			}
			return become(command)
		},
	}
}

// nameOf removes --name, which is not kubectl's, from unparsed arguments.
func nameOf(args *[]string, otherwise string) string {
	if len(*args) > 1 && (*args)[0] == "--name" {
		otherwise, *args = (*args)[1], (*args)[2:]
	} else if len(*args) > 0 {
		if name, is := strings.CutPrefix((*args)[0], "--name="); is {
			otherwise, *args = name, (*args)[1:]
		}
	}
	return otherwise
}

func loadCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "load-image FILE...",
		Short: "Give every node an image, from a file as `docker save` writes it",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			for _, file := range args {
				if err := l.LoadImage(cmd.Context(), file); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
