package servercert

import (
	"cmp"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

// maxExpiries bounds how many Secrets have a sample. Those that expire first have
// one.
const maxExpiries = 100

// Metrics shows what is served under the names that are asked for. It is a
// prometheus.Collector. A nil *Metrics notes nothing.
type Metrics struct {
	mu     sync.Mutex
	served map[Key]served
}

// NewMetrics makes Metrics for one Reconciler.
func NewMetrics() *Metrics { return &Metrics{served: map[Key]served{}} }

// note takes what is served under key. asked says whether any Ingress asks for it.
func (m *Metrics) note(key Key, now served, asked bool) {
	if m == nil || key.isDefault() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if asked {
		m.served[key] = now
	} else {
		delete(m.served, key)
	}
}

// The metrics, as docs/metrics.md explains them.
func descriptions() (certificates, placeholders, expiry *prometheus.Desc) {
	return prometheus.NewDesc("fairway_certificates",
			"Server names that have a certificate of their own.", nil, nil),
		prometheus.NewDesc("fairway_certificate_placeholders",
			"Server names that Ingresses want over TLS and that have no certificate of their own.", nil, nil),
		prometheus.NewDesc("fairway_certificate_expiry_timestamp_seconds",
			"When a certificate that is served expires; of those that do so first.", []string{"namespace", "secret", "serial"}, nil)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	certificates, placeholders, expiry := descriptions()
	out <- certificates
	out <- placeholders
	out <- expiry
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	certificates, placeholders, expiry := descriptions()
	secrets, names, missing := m.count()
	out <- prometheus.MustNewConstMetric(certificates, prometheus.GaugeValue, float64(names))
	out <- prometheus.MustNewConstMetric(placeholders, prometheus.GaugeValue, float64(missing))
	for _, s := range secrets {
		out <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(s.NotAfter.Unix()),
			s.secret.Namespace, s.secret.Name, s.Serial)
	}
}

// count returns the certificates that expire first, each once. It also counts the
// names that have a certificate of their own, and those that have none.
func (m *Metrics) count() (first []served, names, missing int) {
	type version struct {
		secret types.NamespacedName
		serial string
	}
	seen := map[version]bool{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.served {
		if s.Certificate == nil {
			missing++
			continue
		}
		names++
		if v := (version{s.secret, s.Serial}); !seen[v] {
			seen[v] = true
			first = append(first, s)
		}
	}
	slices.SortFunc(first, func(a, b served) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.secret.String(), b.secret.String()), cmp.Compare(a.Serial, b.Serial))
	})
	return first[:min(len(first), maxExpiries)], names, missing
}
