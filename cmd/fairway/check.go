package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
)

// exitProblems is the exit code of check if there are Problems.
const exitProblems = 1

func checkCommand(std streams) *cobra.Command {
	output := "text"
	cmd := &cobra.Command{
		Use:   "check FILE-OR-FOLDER...",
		Short: "Say what is wrong with manifests before they are applied",
		Long: `Check reads manifests as "fairway serve" does and says what is wrong with
them, without serving anything. Folders are read with all that is in them; "-"
is standard input. Services must be among the files, or the Ingresses that name
them have a Problem.

Exit code: 0 without Problems, 1 with some, 2 when a file cannot be read.`,
		Args: wants("a file or folder", cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, paths []string) error {
			if output != "text" && output != "json" {
				return usage(fmt.Errorf("--output: %q is neither text nor json", output))
			}
			ctrllog.SetLogger(logr.Discard())
			found, err := check.Files(cmd.Context(), paths, std.In)
			if err != nil {
				return exit{code: exitUsage, cause: err}
			}
			if err := printFindings(found, std, output); err != nil {
				return exit{code: exitUsage, cause: fmt.Errorf("write: %w", err)}
			}
			if len(found.Problems) > 0 {
				return exit{code: exitProblems}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", output, "text or json")
	return cmd
}

// printFindings writes the findings to standard output. In text format it also
// writes the skipped files and a summary to standard error.
func printFindings(f check.Findings, std streams, output string) error {
	if output == "json" {
		encoder := json.NewEncoder(std.Out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(f)
	}
	for _, p := range f.Problems {
		if _, err := fmt.Fprintln(std.Out, p); err != nil {
			return err
		}
	}
	if err := printLines(std.Err, f.Lines()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.Err, "%s, %s, %s\n",
		wording.Count(len(f.Problems), "problem"), wording.Count(f.Hosts, "host"), wording.Count(f.Backends, "backend"))
	return err
}

func printLines(to io.Writer, lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(to, line); err != nil {
			return err
		}
	}
	return nil
}
