// Package check finds what is wrong with manifests before they are applied.
//
// It is the controllers' own first pass over the files, and the agents' own reading
// of policies, and serves nothing. Its invariant: it finds what a controller or an
// agent would report of the same objects.
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
	"github.com/fairwaynet/fairway/xds/route"
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
	// Hints are what is valid and most likely a mistake.
	Hints []Finding `json:"hints,omitempty"`
	Skipped
}

// Files makes the first pass over files and folders, and nothing more: one for each
// Controller of Fairway's that the files tell of, or for controller alone if it is not
// empty. "-" is stdin. It returns an error if a file cannot be read.
func Files(ctx context.Context, paths []string, stdin io.Reader, controller route.Controller) (Findings, error) {
	files, err := folder.New(folder.Options{Paths: paths, Stdin: stdin})
	if err != nil {
		return Findings{}, err
	}
	passes := passes{backends: map[route.ServicePort]bool{}, seen: map[problem.Problem]bool{}}
	var beside Skipped
	err = snapshot.Take(ctx, files, index.Scope{ClaimWithoutClasses: true}, func(ctx context.Context, controllers *edge.Controllers) error {
		controllers.LocalEndpoints = true
		classes, err := controllers.Objects().AllClasses(ctx)
		if err != nil {
			return err
		}
		served := route.ControllersOf(classes)
		if controller != "" {
			served = []route.Controller{controller}
		}
		for _, each := range served {
			if err := passes.add(ctx, controllers.For(each)); err != nil {
				return err
			}
		}
		if err := passes.addIssuers(ctx, controllers.Objects()); err != nil {
			return err
		}
		beside, err = SkippedOf(ctx, files, controllers.Objects(), served)
		return err
	})
	if err != nil {
		return Findings{}, err
	}
	wrong, hints, err := policies(ctx, files)
	if err != nil {
		return Findings{}, err
	}
	found := Findings{Version: 1, Hosts: passes.hosts, Backends: len(passes.backends), Skipped: beside}
	found.Problems = inOrder(FindingsOf(files.Locate, slices.Concat(files.Problems(), passes.problems, wrong)))
	found.Hints = inOrder(FindingsOf(files.Locate, hints))
	return found, nil
}

// inOrder sorts findings by file and line.
func inOrder(all []Finding) []Finding {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return all
}

// passes are what the first passes of several installations find.
type passes struct {
	hosts    int
	backends map[route.ServicePort]bool
	problems []problem.Problem // each once
	seen     map[problem.Problem]bool
}

func (p *passes) note(problems []problem.Problem) {
	for _, found := range problems {
		if !p.seen[found] {
			p.seen[found] = true
			p.problems = append(p.problems, found)
		}
	}
}

// add makes the pass of one installation. It finds also what is wrong with what is
// asked of Issuers.
func (p *passes) add(ctx context.Context, controllers *edge.Controllers) error {
	picture, err := controllers.FirstPass(ctx)
	if err != nil {
		return err
	}
	asked, err := order.Check(ctx, controllers.Objects())
	p.hosts += len(picture.Hosts)
	for port := range picture.Backends {
		p.backends[port] = true
	}
	p.note(picture.Problems())
	p.note(asked)
	return err
}

// addIssuers finds what is wrong with Issuers.
func (p *passes) addIssuers(ctx context.Context, objects index.Objects) error {
	issuers, err := objects.Issuers(ctx)
	for _, i := range issuers {
		p.note(issuer.Check(i))
	}
	return err
}

// Text returns the Problems for people, one a line.
func (f Findings) Text() string {
	var text strings.Builder
	for _, p := range f.Problems {
		fmt.Fprintln(&text, p)
	}
	return text.String()
}

// Summary returns for people hints, what was skipped, and how much was found.
func (f Findings) Summary() string {
	var text strings.Builder
	for _, hint := range f.Hints {
		fmt.Fprintf(&text, "hint: %s\n", hint)
	}
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
