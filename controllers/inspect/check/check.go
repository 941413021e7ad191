// Package check finds what is wrong with manifests before they are applied.
//
// It is the controllers' own first pass over the files, and serves nothing. Its
// invariant: it finds what a controller would report of the same objects.
package check

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/certificates/issuer"
	"github.com/fairwaynet/fairway/controllers/certificates/order"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// Finding is a Problem and its place. docs/check.md documents its JSON, which does
// not change.
type Finding struct {
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Field     string `json:"field,omitempty"`
	Reason    string `json:"reason"`
	Message   string `json:"message"`
}

// Findings are all that is wrong with some files.
type Findings struct {
	Version  int       `json:"version"` // of this form: 1
	Hosts    int       `json:"hosts"`
	Backends int       `json:"backends"`
	Problems []Finding `json:"problems"`
	Skipped
}

// Files makes the first pass over files and folders, and nothing more. "-" is
// stdin. It returns an error if a file cannot be read.
func Files(ctx context.Context, paths []string, stdin io.Reader) (Findings, error) {
	files, err := folder.New(folder.Options{Paths: paths, Stdin: stdin})
	if err != nil {
		return Findings{}, err
	}
	var picture *edge.Picture
	var asked []problem.Problem
	var beside Skipped
	err = snapshot.Take(ctx, files, index.Scope{ClaimWithoutClasses: true}, func(ctx context.Context, controllers *edge.Controllers) error {
		controllers.LocalEndpoints = true
		if picture, err = controllers.FirstPass(ctx); err != nil {
			return err
		}
		if asked, err = askedOfIssuers(ctx, controllers.Objects()); err != nil {
			return err
		}
		beside, err = SkippedOf(ctx, files, controllers.Objects())
		return err
	})
	if err != nil {
		return Findings{}, err
	}
	found := Findings{Version: 1, Hosts: len(picture.Hosts), Backends: len(picture.Backends), Skipped: beside}
	found.Problems = FindingsOf(files.Locate, slices.Concat(files.Problems(), picture.Problems(), asked))
	slices.SortStableFunc(found.Problems, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return found, nil
}

// askedOfIssuers returns what is wrong with Issuers, and with what is asked of
// them.
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

// Text returns the Problems for people, one a line.
func (f Findings) Text() string {
	var text strings.Builder
	for _, p := range f.Problems {
		fmt.Fprintln(&text, p)
	}
	return text.String()
}

// Summary returns for people what was skipped, and how much was found.
func (f Findings) Summary() string {
	var text strings.Builder
	for _, line := range f.Lines() {
		fmt.Fprintln(&text, line)
	}
	fmt.Fprintf(&text, "%s, %s, %s\n",
		wording.Count(len(f.Problems), "problem"), wording.Count(f.Hosts, "host"), wording.Count(f.Backends, "backend"))
	return text.String()
}

// List returns the findings for people, indented below a title; empty without findings.
func List(title string, findings []Finding) string {
	if len(findings) == 0 {
		return ""
	}
	var text strings.Builder
	text.WriteString(title)
	for _, f := range findings {
		fmt.Fprintf(&text, "  %s\n", f)
	}
	return text.String()
}

// FindingsOf makes a Finding of each Problem, as FindingOf does. It is never nil, so that
// its JSON is a list.
func FindingsOf(locate func(problem.Problem) (folder.Place, bool), problems []problem.Problem) []Finding {
	found := []Finding{}
	for _, p := range problems {
		found = append(found, FindingOf(locate, p))
	}
	return found
}

// FindingOf makes a Finding of a Problem, at the place that locate returns.
func FindingOf(locate func(problem.Problem) (folder.Place, bool), p problem.Problem) Finding {
	f := Finding{
		Kind: p.Object.Kind, Namespace: p.Object.Name.Namespace, Name: p.Object.Name.Name,
		Field: p.Field, Reason: string(p.Reason), Message: p.Message,
	}
	if place, ok := locate(p); ok {
		f.File, f.Line = place.File, place.Line
	}
	if f.Kind == folder.FileKind {
		f.Field = "" // File and Line have it
	}
	return f
}

// String returns one line for people, from which editors can open the place.
func (f Finding) String() string {
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
	return wording.Printable(text + f.Reason + ": " + f.Message)
}
