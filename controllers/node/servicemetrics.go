package node

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/controllers/node/services"
	"github.com/fairwaynet/fairway/proxy/keeper"
	"github.com/fairwaynet/fairway/proxy/service"
)

// ServiceMetrics are those of an agent that keeps Services. Those that mean what metrics of
// kube-proxy mean have their names, too, so that its dashboards and alerts go on working.
type ServiceMetrics struct {
	commits     *prometheus.CounterVec
	programming prometheus.Histogram
	comparisons *prometheus.CounterVec
	differences prometheus.Gauge

	syncs        prometheus.Histogram
	network      prometheus.Histogram
	synced       prometheus.Gauge
	queued       prometheus.Gauge
	syncFailures prometheus.Counter
}

// NewServiceMetrics registers the metrics.
func NewServiceMetrics(registry prometheus.Registerer) (*ServiceMetrics, error) {
	m := &ServiceMetrics{
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_node_service_commits_total", Help: "Transactions that wrote Services into the kernel, by whether it took them.",
		}, []string{"complete"}),
		programming: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairway_node_service_programming_seconds",
			Help:    "Time from when a Service was known to have changed until the kernel had the change.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		comparisons: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_node_service_comparisons_total", Help: "Comparisons of what the agent serves with what the API server has, by their result.",
		}, []string{"result"}),
		differences: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairway_node_service_differences", Help: "Objects of which the agent does not have what the API server has, for half a minute or more.",
		}),
	}
	m.likeKubeProxy()
	for _, collector := range []prometheus.Collector{
		m.commits, m.programming, m.comparisons, m.differences, m.syncs, m.network, m.synced, m.queued, m.syncFailures,
	} {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// likeKubeProxy makes the metrics with kube-proxy's names, helps and buckets.
func (m *ServiceMetrics) likeKubeProxy() {
	m.syncs = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "kubeproxy_sync_proxy_rules_duration_seconds", Help: "SyncProxyRules latency in seconds",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
	})
	m.network = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "kubeproxy_network_programming_duration_seconds", Help: "In Cluster Network Programming Latency in seconds",
		Buckets: slices.Concat(prometheus.LinearBuckets(0.25, 0.25, 2), prometheus.LinearBuckets(1, 1, 59),
			prometheus.LinearBuckets(60, 5, 12), prometheus.LinearBuckets(120, 30, 7)),
	})
	m.synced = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kubeproxy_sync_proxy_rules_last_timestamp_seconds", Help: "The last time proxy rules were successfully synced",
	})
	m.queued = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", Help: "The last time a sync of proxy rules was queued",
	})
	m.syncFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubeproxy_sync_proxy_rules_nftables_sync_failures_total", Help: "Cumulative proxy nftables sync failures",
	})
}

// committed counts a commit of Services.
func (m *ServiceMetrics) committed(r keeper.Report, now time.Time) {
	complete := "true"
	if r.Err != nil || len(r.Refused) > 0 {
		complete = "false"
	}
	m.commits.WithLabelValues(complete).Inc()
	m.syncs.Observe(r.Took.Seconds())
	if r.Err != nil {
		m.syncFailures.Inc()
		return
	}
	m.synced.Set(seconds(now))
	for _, told := range r.Services {
		m.programming.Observe(now.Sub(told).Seconds())
	}
	for _, at := range r.Triggered {
		m.network.Observe(now.Sub(at).Seconds())
	}
}

// suspected hears how many objects seem to differ from the API server's.
func (m *ServiceMetrics) suspected(objects int) { m.differences.Set(float64(objects)) }

// compared counts a comparison.
func (m *ServiceMetrics) compared(differences int, err error) {
	result := "equal"
	switch {
	case err != nil:
		result = "failed"
	case differences > 0:
		result = "different"
	}
	m.comparisons.WithLabelValues(result).Inc()
	m.differences.Set(float64(differences))
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / float64(time.Second) }

// queue notes when there is something to write.
type queue struct {
	services.Publisher

	metrics *ServiceMetrics
}

// Publish implements services.Publisher.
func (q queue) Publish(name types.NamespacedName, s *service.Service) {
	q.metrics.queued.Set(seconds(time.Now()))
	q.Publisher.Publish(name, s)
}

// PublishCluster implements services.Publisher.
func (q queue) PublishCluster(c service.Cluster) {
	q.metrics.queued.Set(seconds(time.Now()))
	q.Publisher.PublishCluster(c)
}
