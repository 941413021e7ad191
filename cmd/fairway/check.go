package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers"
	"github.com/fairwaynet/fairway/controllers/folder"
	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/controllers/issuer"
	"github.com/fairwaynet/fairway/controllers/order"
	"github.com/fairwaynet/fairway/controllers/survey"
)

// exitProblems is the exit code of check when there are Problems.
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
			found, err := check(cmd.Context(), paths, std.In)
			if err != nil {
				return exit{code: exitUsage, cause: err}
			}
			if err := found.print(std, output); err != nil {
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

// finding is a Problem and where it stands. Its JSON is documented in
// docs/check.md and does not change.
type finding struct {
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Field     string `json:"field,omitempty"`
	Reason    string `json:"reason"`
	Message   string `json:"message"`
}

// findings are what check has to say.
type findings struct {
	Version  int       `json:"version"` // of this form: 1
	Hosts    int       `json:"hosts"`
	Backends int       `json:"backends"`
	Problems []finding `json:"problems"`
	passed
}

// check does the first pass over the files and nothing more.
func check(ctx context.Context, paths []string, stdin io.Reader) (findings, error) {
	ctrllog.SetLogger(logr.Discard())
	files, err := folder.New(folder.Options{Paths: paths, Stdin: stdin})
	if err != nil {
		return findings{}, err
	}
	var picture *controllers.Picture
	var asked []problem.Problem
	var beside passed
	err = survey.Look(ctx, files, index.Scope{ClaimWithoutClasses: true}, func(ctx context.Context, road *controllers.Road) error {
		road.LocalEndpoints = true
		if picture, err = road.FirstPass(ctx); err != nil {
			return err
		}
		if asked, err = askedOfIssuers(ctx, road.Objects()); err != nil {
			return err
		}
		beside, err = passedBy(ctx, files, road.Objects())
		return err
	})
	if err != nil {
		return findings{}, err
	}
	found := findings{Version: 1, Hosts: len(picture.Hosts), Backends: len(picture.Backends), Problems: []finding{}, passed: beside}
	for _, p := range slices.Concat(files.Problems(), picture.Problems(), asked) {
		found.Problems = append(found.Problems, findingOf(files.Locate, p))
	}
	slices.SortStableFunc(found.Problems, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return found, nil
}

// askedOfIssuers is what is wrong with Issuers, and with what is asked of them.
func askedOfIssuers(ctx context.Context, objects index.Objects) ([]problem.Problem, error) {
	problems, err := order.Check(ctx, objects)
	if err != nil {
		return nil, err
	}
	issuers, err := objects.Issuers(ctx)
	for _, i := range issuers {
		problems = append(problems, issuer.Check(i)...)
	}
	return problems, err
}

func findingOf(locate func(problem.Problem) (folder.Place, bool), p problem.Problem) finding {
	f := finding{
		Kind: p.Object.Kind, Namespace: p.Object.Name.Namespace, Name: p.Object.Name.Name,
		Field: p.Field, Reason: string(p.Reason), Message: p.Message,
	}
	if place, ok := locate(p); ok {
		f.File, f.Line = place.File, place.Line
	}
	if f.Kind == folder.FileKind {
		f.Field = "" // it is the line
	}
	return f
}

// String is one line for people, which editors can follow to the place.
func (f finding) String() string {
	var text string
	if f.File != "" {
		text = folder.Place{File: f.File, Line: f.Line}.String() + ": "
	}
	if f.Kind != folder.FileKind {
		name := f.Name
		if f.Namespace != "" {
			name = f.Namespace + "/" + name
		}
		text += fmt.Sprintf("%s %s: ", f.Kind, name)
	}
	if f.Field != "" {
		text += f.Field + ": "
	}
	return text + f.Reason + ": " + f.Message
}

// print writes the findings to standard output, and for people beside it what was
// not looked at, and a last line.
func (f findings) print(std streams, output string) error {
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
	if err := f.passed.print(std.Err); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.Err, "%s, %s, %s\n",
		count(len(f.Problems), "problem"), count(f.Hosts, "host"), count(f.Backends, "backend"))
	return err
}

// count is "no hosts", "1 host", "2 hosts".
func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what + "s"
	case 1:
		return "1 " + what
	default:
		return fmt.Sprintf("%d %ss", n, what)
	}
}
