package ingressstatus

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what the writing of addresses counts (docs/metrics.md). A nil
// *Metrics counts nothing.
type Metrics struct {
	wait   prometheus.Histogram
	writes *prometheus.CounterVec
}

// NewMetrics makes the Metrics and registers them.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairway_status_wait_seconds",
			Help:    "From the leader's first look at an Ingress without addresses until it has been given them.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_status_writes_total",
			Help: "Writes of addresses into Ingresses.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{"written", "failed"} {
		m.writes.WithLabelValues(outcome)
	}
	for _, c := range []prometheus.Collector{m.wait, m.writes} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) gave(after time.Duration) {
	if m != nil {
		m.wait.Observe(after.Seconds())
	}
}

func (m *Metrics) wrote(ok bool) {
	switch {
	case m == nil:
	case ok:
		m.writes.WithLabelValues("written").Inc()
	default:
		m.writes.WithLabelValues("failed").Inc()
	}
}
