package freshness

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of the process.
type metrics struct {
	synced, changed, verified prometheus.Gauge
	objects, version          *prometheus.GaugeVec
	stale                     prometheus.Counter
}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		synced:   gauge("fairway_dns_synced", "Whether all Services, EndpointSlices and Namespaces were read."),
		changed:  gauge("fairway_dns_last_event_timestamp_seconds", "When the API server last told of a change of a Service or its endpoints."),
		verified: gauge("fairway_dns_verified_timestamp_seconds", "When the names were last compared with the API server, and nothing was missing."),
		objects:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairway_dns_objects", Help: "How many objects names are made of."}, []string{"resource"}),
		version:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairway_dns_resource_version", Help: "The highest resourceVersion among these objects."}, []string{"resource"}),
		stale:    prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_dns_stale_total", Help: "How often a watch had missed changes, so that everything was read anew."}),
	}
	prometheus.MustRegister(m.synced, m.changed, m.verified, m.objects, m.version, m.stale)
	return m
}

func (m *metrics) show(cache picture) {
	m.synced.Set(0)
	if cache.HasSynced() {
		m.synced.Set(1)
	}
	m.changed.Set(float64(cache.Changed()))
	for _, resource := range []string{services, endpointSlices} {
		held := cache.Versions(resource, nil)
		m.objects.WithLabelValues(resource).Set(float64(len(held)))
		m.version.WithLabelValues(resource).Set(float64(held.newest()))
	}
}
