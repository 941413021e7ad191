package node

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/proxy/policy/enforce"
)

// PolicyMetrics are those of Policies. What was denied is read from the kernel at each scrape.
type PolicyMetrics struct {
	enforcer atomic.Pointer[enforce.Enforcer]

	commits prometheus.Histogram
	cut     prometheus.Counter
}

var denied = prometheus.NewDesc("fairway_node_policy_denied_packets_total",
	"Packets that the policies of a pod of this node denied, by the direction as the pod sees it. It begins again when the pod is isolated anew.",
	[]string{"namespace", "pod", "direction"}, nil)

// NewPolicyMetrics registers the metrics.
func NewPolicyMetrics(registry prometheus.Registerer) (*PolicyMetrics, error) {
	m := &PolicyMetrics{
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fairway_node_policy_commit_seconds", Help: "Time that a change of policies, pods or namespaces took until the kernel had it.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_node_policy_cut_connections_total", Help: "Open connections that were ended because no policy allows them any more.",
		}),
	}
	for _, collector := range []prometheus.Collector{m.commits, m.cut, m} {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *PolicyMetrics) committed(r enforce.Report) {
	m.commits.Observe(r.Took.Seconds())
	m.cut.Add(float64(r.Cut))
}

// Describe implements prometheus.Collector.
func (*PolicyMetrics) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- denied }

// Collect implements prometheus.Collector. Pods of a table that cannot be read have no samples.
func (m *PolicyMetrics) Collect(samples chan<- prometheus.Metric) {
	const patience = 2 * time.Second // a commit may be under way
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e := m.enforcer.Load()
	if e == nil {
		return
	}
	for _, d := range e.Denied(ctx) {
		samples <- prometheus.MustNewConstMetric(denied, prometheus.CounterValue, float64(d.Packets), d.Pod.Namespace, d.Pod.Name, d.Direction.String())
	}
}
