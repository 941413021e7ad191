package replica

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is a prometheus.Collector of what a Tracker waits for (docs/metrics.md).
type Metrics struct {
	tracker      *Tracker
	waiting, lag *prometheus.Desc
}

// NewMetrics makes the Metrics of a Tracker.
func NewMetrics(t *Tracker) *Metrics {
	return &Metrics{
		tracker: t,
		waiting: prometheus.NewDesc("fairway_ingresses_held_up",
			"Ingresses that changed and that some Envoy of this replica does not serve yet.", nil, nil),
		lag: prometheus.NewDesc("fairway_watermark_lag_seconds",
			"How long the oldest of the held-up Ingresses has been held up.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- m.waiting
	descriptions <- m.lag
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	count, lag := m.tracker.HeldUp()
	metrics <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(count))
	metrics <- prometheus.MustNewConstMetric(m.lag, prometheus.GaugeValue, lag.Seconds())
}
