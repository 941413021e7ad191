// Package report keeps what is wrong with users' objects. It tells its subscribers
// when a Problem appears and when it is resolved.
//
// A Problem belongs to the keys that found it. Each report of a key replaces the
// key's earlier one, and a Problem that several keys found stays until none of
// them finds it any more. So subscribers hear of each Problem once when it appears
// and once when it is gone, however often its keys are reconciled.
package report

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/shrink"
)

// Subscriber is told of every change, one at a time and in order. It must not
// block, and must not call the Reporter.
type Subscriber interface {
	Appeared(context.Context, problem.Problem)
	Resolved(context.Context, problem.Problem)
}

// Reporter is the union of what all keys have reported. The zero value has no
// subscribers and is ready to use by any number of goroutines. It is a
// prometheus.Collector of the number of Problems by kind and reason.
type Reporter struct {
	subscribers []Subscriber

	mu     sync.Mutex
	found  map[any][]problem.Problem // by key: sorted, not empty
	finder map[problem.Problem]int   // how many keys found it
}

// New makes a Reporter with the given subscribers.
func New(subscribers ...Subscriber) *Reporter {
	return &Reporter{subscribers: subscribers}
}

// Report makes problems all that is wrong with the key, which must be of a
// comparable type of its own. If there are none, the key is forgotten.
func (r *Reporter) Report(ctx context.Context, key any, problems []problem.Problem) {
	now := problem.Sort(slices.Clone(problems))

	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.found[key]
	if slices.Equal(before, now) {
		return
	}
	r.keep(key, now)
	for _, p := range now {
		r.add(ctx, p)
	}
	for _, p := range before {
		r.remove(ctx, p)
	}
}

func (r *Reporter) keep(key any, problems []problem.Problem) {
	if r.found == nil {
		r.found = map[any][]problem.Problem{}
		r.finder = map[problem.Problem]int{}
	}
	if len(problems) == 0 {
		shrink.Delete(&r.found, key)
		return
	}
	r.found[key] = problems
}

func (r *Reporter) add(ctx context.Context, p problem.Problem) {
	if r.finder[p]++; r.finder[p] > 1 {
		return
	}
	for _, s := range r.subscribers {
		s.Appeared(ctx, p)
	}
}

func (r *Reporter) remove(ctx context.Context, p problem.Problem) {
	if r.finder[p]--; r.finder[p] > 0 {
		return
	}
	shrink.Delete(&r.finder, p)
	for _, s := range r.subscribers {
		s.Resolved(ctx, p)
	}
}

// Problems returns all that is wrong now, in order and without duplicates.
func (r *Reporter) Problems() []problem.Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	return problem.Sort(slices.Collect(maps.Keys(r.finder)))
}

// Describe implements prometheus.Collector.
func (r *Reporter) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- description() }

// Collect implements prometheus.Collector. A reason without Problems has no
// sample, so that a mistake that was mended leaves nothing behind.
func (r *Reporter) Collect(metrics chan<- prometheus.Metric) { collect(metrics, r.Problems()) }

func collect(metrics chan<- prometheus.Metric, all []problem.Problem) {
	type labels struct{ kind, reason string }
	counts := map[labels]int{}
	for _, p := range all {
		counts[labels{p.Object.Kind, string(p.Reason)}]++
	}
	for l, count := range counts {
		metrics <- prometheus.MustNewConstMetric(
			description(), prometheus.GaugeValue, float64(count), l.kind, l.reason)
	}
}

func description() *prometheus.Desc {
	return prometheus.NewDesc("fairway_problems",
		"Mistakes in users' objects, by the object's kind and the reason (docs/problems.md).",
		[]string{"kind", "reason"}, nil)
}
