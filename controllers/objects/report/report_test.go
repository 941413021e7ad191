package report_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/report"
)

// diary writes down what a subscriber hears.
type diary []string

func (d *diary) Appeared(_ context.Context, p problem.Problem) { *d = append(*d, "+ "+p.Message) }
func (d *diary) Resolved(_ context.Context, p problem.Problem) { *d = append(*d, "- "+p.Message) }

func TestReport(t *testing.T) {
	type found map[string]string // key: messages, one letter each
	tests := []struct {
		name   string
		before []found
		then   found
		want   string
	}{
		{name: "a Problem appears", then: found{"a": "x"}, want: "+ x"},
		{name: "a Problem that stays is not told again", before: []found{{"a": "x"}}, then: found{"a": "x"}},
		{name: "a Problem is resolved", before: []found{{"a": "x"}}, then: found{"a": ""}, want: "- x"},
		{name: "the new Problem comes before the old one goes", before: []found{{"a": "x"}}, then: found{"a": "y"}, want: "+ y - x"},
		{name: "what stays beside a change is not told again", before: []found{{"a": "xy"}}, then: found{"a": "yz"}, want: "+ z - x"},
		{name: "a second finder is not told", before: []found{{"a": "x"}}, then: found{"b": "x"}},
		{name: "the first of two finders leaves", before: []found{{"a": "x", "b": "x"}}, then: found{"a": ""}},
		{name: "the last of two finders leaves", before: []found{{"a": "x", "b": "x"}, {"a": ""}}, then: found{"b": ""}, want: "- x"},
		{name: "duplicates in one report count once", before: []found{{"a": "xx"}}, then: found{"a": ""}, want: "- x"},
		{name: "a key without Problems says nothing", then: found{"a": ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var heard diary
			r := report.New(&heard)
			tell := func(f found) {
				for key, messages := range f {
					r.Report(t.Context(), key, problems(messages))
				}
			}
			for _, f := range test.before {
				tell(f)
			}
			heard = nil
			tell(test.then)
			if got := strings.Join(heard, " "); got != test.want {
				t.Errorf("heard %q, want %q", got, test.want)
			}
		})
	}
}

// Keys of different types are different keys, even with equal values.
func TestKeysOfDifferentTypes(t *testing.T) {
	type other string
	r := report.New()
	r.Report(t.Context(), "a", problems("x"))
	r.Report(t.Context(), other("a"), problems("y"))
	r.Report(t.Context(), "a", nil)
	if diff := cmp.Diff(problems("y"), r.Problems()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestReportLeavesTheCallersSliceAlone(t *testing.T) {
	given := problems("zyx")
	report.New().Report(t.Context(), "a", given)
	if diff := cmp.Diff(problems("zyx"), given); diff != "" {
		t.Errorf("given (-want +got):\n%s", diff)
	}
}

func TestMetric(t *testing.T) {
	r := report.New()
	r.Report(t.Context(), "a", problems("xy"))
	r.Report(t.Context(), "b", problems("x"))
	r.Report(t.Context(), "c", []problem.Problem{{Object: problem.Object{Kind: "File"}, Reason: "Unreadable"}})
	want := `# HELP fairway_problems Mistakes in users' objects, by the object's kind and the reason (docs/problems.md).
# TYPE fairway_problems gauge
fairway_problems{kind="File",reason="Unreadable"} 1
fairway_problems{kind="Ingress",reason="Test"} 2
`
	if err := testutil.CollectAndCompare(r, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"a", "b", "c"} {
		r.Report(t.Context(), key, nil)
	}
	if n := testutil.CollectAndCount(r); n != 0 {
		t.Errorf("%d samples after all is mended, want none", n)
	}
}

// The metric of several Reporters has each Problem once, and none of a Reporter that is no
// part of it any more.
func TestMetricOfSeveral(t *testing.T) {
	var all report.Union
	for _, text := range []string{"xy", "yz"} {
		r := report.New()
		r.Report(t.Context(), "a", problems(text))
		all.Add(r)
	}
	term := report.New()
	term.Report(t.Context(), "a", []problem.Problem{{Object: problem.Object{Kind: "AddressPool"}, Reason: "AddressInvalid"}})
	remove := all.Add(term)
	const head = `# HELP fairway_problems Mistakes in users' objects, by the object's kind and the reason (docs/problems.md).
# TYPE fairway_problems gauge
`
	const those = `fairway_problems{kind="Ingress",reason="Test"} 3
`
	if err := testutil.CollectAndCompare(&all, strings.NewReader(head+`fairway_problems{kind="AddressPool",reason="AddressInvalid"} 1
`+those)); err != nil {
		t.Error(err)
	}
	remove()
	if err := testutil.CollectAndCompare(&all, strings.NewReader(head+those)); err != nil {
		t.Errorf("after the term: %v", err)
	}
}

// Whatever keys report, in whatever order, the Problems are the union of their
// last reports, and subscribers have heard of exactly those.
func TestAnyHistoryIsTheUnionOfTheLastReports(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		heard := &balance{}
		r := report.New(heard)
		last := map[int][]problem.Problem{}
		for step := range 100 {
			key := random.IntN(4)
			last[key] = problems(pick(random, "uvwxyz"))
			r.Report(t.Context(), key, last[key])

			var want []problem.Problem
			for _, p := range last {
				want = append(want, p...)
			}
			want = problem.Sort(want)
			if !cmp.Equal(want, r.Problems()) || !cmp.Equal(want, heard.now()) {
				t.Fatalf("seed %d step %d: problems %v, heard %v, want %v", seed, step, r.Problems(), heard.now(), want)
			}
		}
	}
}

// balance is what a subscriber believes to be there.
type balance struct{ there map[problem.Problem]int }

func (b *balance) Appeared(_ context.Context, p problem.Problem) { b.add(p, 1) }
func (b *balance) Resolved(_ context.Context, p problem.Problem) { b.add(p, -1) }

func (b *balance) add(p problem.Problem, n int) {
	if b.there == nil {
		b.there = map[problem.Problem]int{}
	}
	b.there[p] += n
}

// now returns the Problems that count as present, and marks those told wrongly.
func (b *balance) now() []problem.Problem {
	var list []problem.Problem
	for p, n := range b.there {
		if n < 0 || n > 1 {
			p.Message += " told wrong"
		}
		if n != 0 {
			list = append(list, p)
		}
	}
	return problem.Sort(list)
}

func pick(random *rand.Rand, letters string) string {
	var picked strings.Builder
	for _, letter := range letters {
		if random.IntN(3) == 0 {
			picked.WriteRune(letter)
		}
	}
	return picked.String()
}

// problems is one Problem for each letter.
func problems(letters string) []problem.Problem {
	var list []problem.Problem
	for _, letter := range letters {
		list = append(list, problem.Problem{
			Object:  problem.Object{Kind: "Ingress", Name: types.NamespacedName{Namespace: "shop", Name: "cart"}},
			Reason:  "Test",
			Message: string(letter),
		})
	}
	return list
}

func TestProblemsOfOneKind(t *testing.T) {
	kept := &report.OfKind{Kind: "ConfigMap"}
	r := report.New(kept)
	wrong := problem.Problem{Object: problem.Object{Kind: "ConfigMap"}, Message: "b"}
	r.Report(t.Context(), "a", append(problems("x"), wrong))
	if diff := cmp.Diff([]problem.Problem{wrong}, kept.Problems()); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	r.Report(t.Context(), "a", problems("x"))
	if left := kept.Problems(); len(left) != 0 {
		t.Errorf("kept %v", left)
	}
}
