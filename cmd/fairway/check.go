package main

import (
	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/xds/route"
)

// exitProblems is the exit code of check if there are Problems.
const exitProblems = 1

func checkCommand(std streams) *cobra.Command {
	output, controller := outputText, route.Controller("")
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
			if err := output.validate(); err != nil {
				return usage(err)
			}
			if err := checkControllerValue(controller); err != nil {
				return err
			}
			ctrllog.SetLogger(logr.Discard())
			found, err := check.Files(cmd.Context(), paths, std.In, controller)
			if err != nil {
				return exit{code: exitUsage, cause: err}
			}
			err = output.write(std.Out, found, found.Text)
			if err == nil && output == outputText {
				err = output.write(std.Err, found, found.Summary)
			}
			if err != nil {
				return err
			}
			if len(found.Problems) > 0 {
				return exit{code: exitProblems}
			}
			return nil
		},
	}
	output.bind(cmd.Flags())
	bindControllerValue(cmd.Flags(), &controller)
	return cmd
}
