package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Skipped is what the files hold but Fairway does not consider. None of it is a
// Problem. docs/check.md documents its JSON, which does not change.
type Skipped struct {
	Over    []Neighbour  `json:"passedOver"`
	Classes []OtherClass `json:"otherClasses"`
	ours    []string     // the classes that are Fairway's
}

// Neighbour is something in a file that is not read.
type Neighbour struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	Kind string `json:"kind,omitempty"` // of an object of Kubernetes that is not read
	Why  string `json:"why,omitempty"`  // of anything else
}

// OtherClass counts the Ingresses that name a class which is not Fairway's. For
// the empty class, they name none.
type OtherClass struct {
	Class     string `json:"class"`
	Ingresses int    `json:"ingresses"`
}

// SkippedOf returns what the files hold besides the objects that installations with
// these Controllers consider.
func SkippedOf(ctx context.Context, files *folder.Cache, objects index.Objects, served []route.Controller) (Skipped, error) {
	found := Skipped{Over: []Neighbour{}, Classes: []OtherClass{}}
	for _, p := range files.PassedOver() {
		found.Over = append(found.Over, Neighbour{p.File, p.Line, p.Kind, p.Why})
	}
	var classes []route.Classes
	for _, each := range served {
		objects.Controller = each
		its, err := objects.Classes(ctx)
		if err != nil {
			return found, err
		}
		classes = append(classes, its)
	}
	ingresses, err := objects.Ingresses(ctx)
	if err != nil {
		return found, err
	}
	others := map[string]int{}
	for _, ingress := range ingresses {
		isServed := func(classes route.Classes) bool { _, ours := classes.Gateway(ingress); return ours }
		if !slices.ContainsFunc(classes, isServed) {
			name, _ := route.ClassOf(ingress)
			others[name]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		found.Classes = append(found.Classes, OtherClass{name, others[name]})
	}
	all, err := objects.AllClasses(ctx)
	for _, class := range all {
		if slices.ContainsFunc(served, func(each route.Controller) bool { return each.Owns(class.Spec.Controller) }) {
			found.ours = append(found.ours, class.Name)
		}
	}
	slices.Sort(found.ours)
	return found, err
}

// maxNeighbours is how many Neighbours the text for people names.
const maxNeighbours = 10

// Lines returns the text for people. It names what is no object, and counts the
// rest.
func (s Skipped) Lines() []string {
	var lines []string
	kinds := map[string]int{}
	more := 0
	for _, o := range s.Over {
		switch {
		case o.Kind != "":
			kinds[o.Kind]++
		case len(lines) == maxNeighbours:
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
	if line := s.othersLine(); line != "" {
		lines = append(lines, line)
	}
	for i := range lines {
		lines[i] = wording.Printable(lines[i])
	}
	return lines
}

// othersLine says which Ingresses were not considered.
func (s Skipped) othersLine() string {
	if len(s.Classes) == 0 {
		return ""
	}
	var parts []string
	for _, c := range s.Classes {
		of := "of class " + c.Class
		if c.Class == "" {
			of = "without a class"
		}
		parts = append(parts, fmt.Sprintf("%s %s", ingresses(c.Ingresses), of))
	}
	ours := "none of the IngressClasses is Fairway's"
	if len(s.ours) > 0 {
		ours = "Fairway's classes here: " + wording.First(s.ours)
	}
	return fmt.Sprintf("not looked at: %s; %s", strings.Join(parts, ", "), ours)
}

func ingresses(n int) string {
	if n == 1 {
		return "1 Ingress"
	}
	return fmt.Sprintf("%d Ingresses", n)
}

// numbered returns text such as "ConfigMap, Deployment (3)".
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
