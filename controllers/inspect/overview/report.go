package overview

import (
	"fmt"
	"slices"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
)

// Report is an Overview and its Problems, as fairway status prints them.
type Report struct {
	*Overview
	Problems []check.Finding `json:"problems"`
}

// Report returns the overview with its Problems. They are in no file.
func (o *Overview) Report() Report {
	nowhere := func(problem.Problem) (folder.Place, bool) { return folder.Place{}, false }
	return Report{o, check.FindingsOf(nowhere, o.Problems)}
}

// Text returns the report for people.
func (r Report) Text() string {
	served := len(slices.DeleteFunc(slices.Clone(r.Ingresses), func(i Ingress) bool { return i.State != Served }))
	return r.Overview.Text() + check.List("\nProblems:\n", r.Problems) + fmt.Sprintf("\n%s, %d served; %s\n",
		countOf(len(r.Ingresses), "Ingress", "Ingresses"), served, wording.Count(len(r.Problems), "problem"))
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
