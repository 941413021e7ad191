package order

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/tls/acme"
)

// maxIssuers bounds how many Issuers have samples of their own; all others share
// the samples of other.
const (
	maxIssuers = 50
	other      = "other"
)

// Metrics counts what is ordered (docs/metrics.md). It is a prometheus.Collector.
// A nil *Metrics counts nothing.
type Metrics struct {
	states   *States
	attempts *prometheus.CounterVec
	issues   *prometheus.CounterVec
	failures *prometheus.CounterVec

	mu      sync.Mutex
	issuers map[string]bool
}

// NewMetrics makes Metrics, which also expose the states.
func NewMetrics(states *States) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &Metrics{
		states:   states,
		attempts: counter("fairway_acme_orders_total", "Orders that were begun, again ones included.", "issuer"),
		issues:   counter("fairway_acme_issued_total", "Certificates that were issued and written.", "issuer"),
		failures: counter("fairway_acme_failures_total", "Orders that failed, by who has to act.", "issuer", "kind"),
		issuers:  map[string]bool{},
	}
}

// label returns the Issuer's own label, or other if there are too many.
func (m *Metrics) label(issuer string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.issuers[issuer] && len(m.issuers) >= maxIssuers {
		return other
	}
	m.issuers[issuer] = true
	return issuer
}

func (m *Metrics) attempted(issuer string) {
	if m != nil {
		m.attempts.WithLabelValues(m.label(issuer)).Inc()
	}
}

func (m *Metrics) issued(issuer string) {
	if m != nil {
		m.issues.WithLabelValues(m.label(issuer)).Inc()
	}
}

func (m *Metrics) failed(issuer string, failure *acme.Failure) {
	if m != nil && failure != nil {
		m.failures.WithLabelValues(m.label(issuer), string(failure.Kind)).Inc()
	}
}

func descriptions() (certificates, expiry *prometheus.Desc) {
	return prometheus.NewDesc("fairway_acme_certificates",
			"Certificates that are asked from an Issuer, by state.", []string{"issuer", "state"}, nil),
		prometheus.NewDesc("fairway_acme_expiry_timestamp_seconds",
			"When the first of an Issuer's certificates expires.", []string{"issuer"}, nil)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	certificates, expiry := descriptions()
	out <- certificates
	out <- expiry
	for _, c := range []prometheus.Collector{m.attempts, m.issues, m.failures} {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	certificates, expiry := descriptions()
	for _, c := range []prometheus.Collector{m.attempts, m.issues, m.failures} {
		c.Collect(out)
	}
	type labels struct{ issuer, state string }
	counts, first := map[labels]int{}, map[string]float64{}
	for _, s := range m.states.all() {
		issuer := m.label(s.Issuer)
		counts[labels{issuer, s.State}]++
		if at := float64(s.NotAfter.Unix()); !s.NotAfter.IsZero() && (first[issuer] == 0 || at < first[issuer]) {
			first[issuer] = at
		}
	}
	for l, count := range counts {
		out <- prometheus.MustNewConstMetric(certificates, prometheus.GaugeValue, float64(count), l.issuer, l.state)
	}
	for issuer, at := range first {
		out <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, at, issuer)
	}
}
