package report

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/api/problem"
)

// Union is a prometheus.Collector of the Problems of several Reporters, of which some last for
// one term of a leader only. The zero value has none.
type Union struct {
	mu  sync.Mutex
	all map[*Reporter]bool
}

// Add makes a Reporter part of the Union until remove is called.
func (u *Union) Add(r *Reporter) (remove func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[*Reporter]bool{}
	}
	u.all[r] = true
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.all, r)
	}
}

// Describe implements prometheus.Collector.
func (u *Union) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- description() }

// Collect implements prometheus.Collector. A Problem that several Reporters have counts once.
func (u *Union) Collect(metrics chan<- prometheus.Metric) {
	u.mu.Lock()
	var all []problem.Problem
	for r := range u.all {
		all = append(all, r.Problems()...)
	}
	u.mu.Unlock()
	collect(metrics, problem.Sort(all))
}
