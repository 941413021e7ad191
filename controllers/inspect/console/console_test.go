package console

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/report"
)

// A field that now has another Problem is not mended.
func TestMendedIsWhatNothingIsWrongWith(t *testing.T) {
	var said strings.Builder
	n := New(&said, "text", logr.Discard())
	n.now = func() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }
	n.Locate = func(problem.Problem) (folder.Place, bool) { return folder.Place{}, false }
	reporter := report.New(n)
	wrong := func(reason problem.Reason) problem.Problem {
		return problem.Problem{
			Object: problem.Object{Kind: "Ingress", Name: types.NamespacedName{Namespace: "shop", Name: "web"}},
			Field:  "spec.rules[0].host", Reason: reason, Message: "why",
		}
	}
	for _, reason := range []problem.Reason{"One", "Other", ""} {
		var problems []problem.Problem
		if reason != "" {
			problems = append(problems, wrong(reason))
		}
		reporter.Report(t.Context(), "key", problems)
	}
	const want = `12:00:00 problem: Ingress shop/web: spec.rules[0].host: One: why
12:00:00 problem: Ingress shop/web: spec.rules[0].host: Other: why
12:00:00 mended: Ingress shop/web: spec.rules[0].host: Other: why
`
	if said.String() != want {
		t.Errorf("said:\n%swant:\n%s", said.String(), want)
	}
}
