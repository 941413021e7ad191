package edge

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/route"
)

// Metrics are what the Controllers count (docs/metrics.md). A nil *Metrics counts
// nothing.
type Metrics struct {
	hosts, backends prometheus.Gauge
	change          prometheus.Histogram
	rejections      *prometheus.CounterVec
}

// NewMetrics makes the Metrics and registers them.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		hosts: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairway_hosts", Help: "Virtual hosts that are published.",
		}),
		backends: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairway_backends", Help: "Service ports whose endpoints are published.",
		}),
		change: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fairway_change_seconds",
			Help: "From the start of a host's reconciliation until every Envoy that has caught up serves the outcome.",
			// 1 ms to 16 s; users begin to notice at 30 ms.
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		rejections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_xds_rejections_total",
			Help: "Hosts, backends, gateway settings and certificates that an Envoy refused. Each is a bug of Fairway's.",
		}, []string{"kind"}),
	}
	for _, kind := range []string{rejectedHost, rejectedBackend, rejectedSettings, rejectedCertificate} {
		m.rejections.WithLabelValues(kind)
	}
	for _, c := range []prometheus.Collector{m.hosts, m.backends, m.change, m.rejections} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) served(after time.Duration) {
	if m != nil {
		m.change.Observe(after.Seconds())
	}
}

func (m *Metrics) rejected(kind string) {
	if m != nil {
		m.rejections.WithLabelValues(kind).Inc()
	}
}

// counted is a Publisher that counts what is published through it.
type counted struct {
	Publisher
	metrics *Metrics

	mu       sync.Mutex
	hosts    map[route.Key]struct{}
	backends map[route.ServicePort]struct{}
}

func (c *Controllers) counted() *counted {
	return &counted{
		Publisher: c.Publisher,
		metrics:   c.Metrics,
		hosts:     map[route.Key]struct{}{},
		backends:  map[route.ServicePort]struct{}{},
	}
}

// PublishHost implements Publisher.
func (c *counted) PublishHost(key route.Key, host *route.Host) {
	c.Publisher.PublishHost(key, host)
	if c.metrics != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		count(&c.hosts, key, host != nil, c.metrics.hosts)
	}
}

// PublishBackend implements Publisher.
func (c *counted) PublishBackend(port route.ServicePort, backend *route.Backend) {
	c.Publisher.PublishBackend(port, backend)
	if c.metrics != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		count(&c.backends, port, backend != nil, c.metrics.backends)
	}
}

func count[K comparable](keys *map[K]struct{}, key K, there bool, gauge prometheus.Gauge) {
	if there {
		(*keys)[key] = struct{}{}
	} else {
		shrink.Delete(keys, key)
	}
	gauge.Set(float64(len(*keys)))
}
