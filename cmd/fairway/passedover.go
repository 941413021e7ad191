package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/controllers/folder"
	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// passed is what stands in the files and was not looked at, which is no Problem.
// Its JSON is documented in docs/check.md and does not change.
type passed struct {
	Over    []passedOver `json:"passedOver"`
	Classes []otherClass `json:"otherClasses"`
	ours    []string     // the classes of Fairway's
}

type passedOver struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	Kind string `json:"kind,omitempty"` // of an object of Kubernetes that is not read
	Why  string `json:"why,omitempty"`  // of anything else
}

// otherClass is how many Ingresses name a class that is not Fairway's; those of
// the empty one name none.
type otherClass struct {
	Class     string `json:"class"`
	Ingresses int    `json:"ingresses"`
}

// passedBy looks for what nobody has looked at.
func passedBy(ctx context.Context, files *folder.Cache, objects index.Objects) (passed, error) {
	found := passed{Over: []passedOver{}, Classes: []otherClass{}}
	for _, p := range files.PassedOver() {
		found.Over = append(found.Over, passedOver{p.File, p.Line, p.Kind, p.Why})
	}
	classes, err := objects.Classes(ctx)
	if err != nil {
		return found, err
	}
	ingresses, err := objects.Ingresses(ctx)
	if err != nil {
		return found, err
	}
	others := map[string]int{}
	for _, ingress := range ingresses {
		if _, ours := classes.Gateway(ingress); !ours {
			name, _ := route.ClassOf(ingress)
			others[name]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		found.Classes = append(found.Classes, otherClass{name, others[name]})
	}
	all, err := objects.AllClasses(ctx)
	for _, class := range all {
		if _, ours := route.GatewayOf(class); ours {
			found.ours = append(found.ours, class.Name)
		}
	}
	slices.Sort(found.ours)
	return found, err
}

// maxPassed is how many neighbours of manifests are named to people.
const maxPassed = 10

// lines are for people: what is no object by name, the others by number.
func (p passed) lines() []string {
	var lines []string
	kinds := map[string]int{}
	more := 0
	for _, o := range p.Over {
		switch {
		case o.Kind != "":
			kinds[o.Kind]++
		case len(lines) == maxPassed:
			more++
		default:
			lines = append(lines, folder.PassedOver{Place: folder.Place{File: o.File, Line: o.Line}, Why: o.Why}.String())
		}
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("passed over: %d more such documents", more))
	}
	if len(kinds) > 0 {
		lines = append(lines, "passed over, as Fairway does not read them: "+numbered(kinds))
	}
	if line := p.othersLine(); line != "" {
		lines = append(lines, line)
	}
	return lines
}

// othersLine says which Ingresses were not looked at.
func (p passed) othersLine() string {
	if len(p.Classes) == 0 {
		return ""
	}
	var parts []string
	for _, c := range p.Classes {
		of := "of class " + c.Class
		if c.Class == "" {
			of = "without a class"
		}
		parts = append(parts, fmt.Sprintf("%s %s", ingresses(c.Ingresses), of))
	}
	ours := "none of the IngressClasses is Fairway's"
	if len(p.ours) > 0 {
		ours = "Fairway's classes here: " + names(p.ours)
	}
	return fmt.Sprintf("not looked at: %s; %s", strings.Join(parts, ", "), ours)
}

func ingresses(n int) string {
	if n == 1 {
		return "1 Ingress"
	}
	return fmt.Sprintf("%d Ingresses", n)
}

// numbered is "ConfigMap, Deployment (3)".
func numbered(kinds map[string]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		if n := kinds[kind]; n > 1 {
			kind = fmt.Sprintf("%s (%d)", kind, n)
		}
		parts = append(parts, kind)
	}
	return strings.Join(parts, ", ")
}

func (p passed) print(to io.Writer) error {
	for _, line := range p.lines() {
		if _, err := fmt.Fprintln(to, line); err != nil {
			return err
		}
	}
	return nil
}
