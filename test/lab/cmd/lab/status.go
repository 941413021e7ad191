package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairwaynet/fairway/test/lab"
)

func statusCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show machines, their processes and memory, and nodes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			if err := writeMachines(cmd, l); err != nil {
				return err
			}
			nodes, err := l.TryKubectl(cmd.Context(), "", "get", "nodes", "-o", "wide")
			if err != nil {
				nodes = err.Error()
			}
			fmt.Fprintf(cmd.OutOrStdout(), "\n%s\nexport KUBECONFIG=%s\n", nodes, l.Kubeconfig)
			return nil
		},
	}
}

func writeMachines(cmd *cobra.Command, l *lab.Lab) error {
	states, err := l.Rack().Machines(cmd.Context())
	if err != nil {
		return err
	}
	usage, err := l.Usage()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "MACHINE\tSTATE\tUP\tMEMORY\tPROCESSES (MiB)")
	var all int64
	for _, state := range states {
		how, up := "off", ""
		if state.On {
			how, up = "on", time.Since(state.Since).Round(time.Second).String()
		}
		if state.Cut {
			how = "cut"
		}
		var parts []string
		var sum int64
		for _, u := range usage[state.Name] {
			sum += u.Resident
			parts = append(parts, fmt.Sprintf("%s %d", u.Name, u.Resident>>20))
		}
		all += sum
		fmt.Fprintf(table, "%s\t%s\t%s\t%d MiB\t%s\n", state.Name, how, up, sum>>20, strings.Join(parts, ", "))
	}
	fmt.Fprintf(table, "all\t\t\t%d MiB\t\n", all>>20)
	return table.Flush()
}

func logsCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "logs MACHINE [PROGRAM]",
		Short: "Print the log of a machine's program; without PROGRAM, list the logs",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			if len(args) == 2 {
				return copyLog(cmd.OutOrStdout(), l.Logs(args[0], args[1]))
			}
			for _, path := range l.Logs(args[0], "*") {
				fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSuffix(filepath.Base(path), ".log"))
			}
			return nil
		},
	}
}

func copyLog(to io.Writer, paths []string) error {
	if len(paths) == 0 {
		return fmt.Errorf("there is no such log")
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if _, err := to.Write(content); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
	return nil
}
