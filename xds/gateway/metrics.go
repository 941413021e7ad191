package gateway

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/fairwaynet/fairway/xds/envoy"
)

const (
	// observe is how often Metrics looks whether a controller is connected.
	observe = 5 * time.Second
	// scrapeTimeout is how long Envoy may take to return its statistics.
	scrapeTimeout = 5 * time.Second
	// maxSeries bounds the series of Envoy's in one scrape. The bounds inside Envoy make
	// less. This one holds even if they do not.
	maxSeries = 900
)

// Metrics are those of a gateway: a choice of Envoy's, under names of Fairway, and some
// that only this process knows. It is a prometheus.Collector.
type Metrics struct {
	Process *Process
	Now     func() time.Time

	mu        sync.Mutex
	connected time.Time // when a controller was last connected
}

// NewMetrics makes the metrics of a process.
func NewMetrics(p *Process, now func() time.Time) *Metrics {
	return &Metrics{Process: p, Now: now, connected: now()}
}

// Run looks whether a controller is connected until ctx ends.
func (m *Metrics) Run(ctx context.Context) {
	tick := time.NewTicker(observe)
	defer tick.Stop()
	for {
		m.age(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// age is the time since a controller was connected that is in contact with the API server.
func (m *Metrics) age(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	stats, err := m.Process.Admin().stats(ctx, `^control_plane\.connected_state$`)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && stats.sum("envoy_control_plane_connected_state") == 1 {
		m.connected = m.Now()
	}
	age := m.Now().Sub(m.connected)
	if prover := m.Process.Prover; prover != nil {
		age = max(age, prover.age.now())
	}
	return age
}

// metric is one metric of Fairway, made of one or several of Envoy's.
type metric struct {
	name, help string
	kind       prometheus.ValueType // ignored for a histogram
	labels     []string             // their names
	from       []source
}

// source is a family of Envoy's Prometheus page, without the "envoy_".
type source struct {
	family string
	// labels are the values of metric.labels: each is a value, or "$" and the name of one
	// of Envoy's labels.
	labels []string
	scale  float64 // 0: 1
}

// metricList are all metrics that come from Envoy; docs/metrics.md explains them.
func metricList() []metric {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	listener := []string{"$envoy_listener_address"}
	connection := []string{"$envoy_http_conn_manager_prefix"}
	return []metric{
		{"requests_total", "Requests, by status code and by Envoy's response flags.", counter, []string{"code", "flags"},
			[]source{{"fairway_requests_requests", []string{"$code", "$flags"}, 0}}},
		{"request_seconds", "From a request's first byte to its answer's last.", counter, nil,
			[]source{{"fairway_requests_duration", nil, 1e-3}}},
		{"requests_active", "Requests under way.", gauge, []string{"listener"},
			[]source{{"http_downstream_rq_active", connection, 0}}},
		{"upgrades_active", "WebSockets and other upgraded connections.", gauge, []string{"listener"},
			[]source{{"http_downstream_cx_upgrades_active", connection, 0}}},
		{"connections", "Connections of clients.", gauge, []string{"listener"},
			[]source{{"listener_downstream_cx_active", listener, 0}}},
		{"connections_total", "Connections that clients have opened.", counter, []string{"listener"},
			[]source{{"listener_downstream_cx_total", listener, 0}}},
		{"connections_refused_total", "Connections that were closed at once.", counter, []string{"listener", "reason"}, []source{
			{"listener_downstream_global_cx_overflow", append(listener, "max-connections"), 0},
			{"listener_downstream_cx_overload_reject", append(listener, "overload"), 0},
		}},
		{"tls_handshakes_total", "TLS handshakes that succeeded.", counter, []string{"listener"},
			[]source{{"listener_ssl_handshake", listener, 0}}},
		{"tls_errors_total", "TLS handshakes that failed.", counter, []string{"listener"},
			[]source{{"listener_ssl_connection_error", listener, 0}}},
		{"listeners", "Listeners, by what they do.", gauge, []string{"state"}, []source{
			{"listener_manager_total_listeners_active", []string{"active"}, 0},
			{"listener_manager_total_listeners_warming", []string{"warming"}, 0},
			{"listener_manager_total_listeners_draining", []string{"draining"}, 0},
		}},
		{"clusters", "Clusters that Envoy knows; each costs it memory.", gauge, nil,
			[]source{{"cluster_manager_active_clusters", nil, 0}}},
		{"controller_connected", "1 while a controller is connected.", gauge, nil,
			[]source{{"control_plane_connected_state", nil, 0}}},
		{"configuration_updates_total", "Updates of listeners and clusters.", counter, []string{"type", "result"}, []source{
			{"cluster_manager_cds_update_success", []string{"cluster", "accepted"}, 0},
			{"cluster_manager_cds_update_rejected", []string{"cluster", "rejected"}, 0},
			{"listener_manager_lds_update_success", []string{"listener", "accepted"}, 0},
			{"listener_manager_lds_update_rejected", []string{"listener", "rejected"}, 0},
		}},
		{"configuration_timestamp_seconds", "When listeners and clusters were last updated.", gauge, []string{"type"}, []source{
			{"cluster_manager_cds_update_time", []string{"cluster"}, 1e-3},
			{"listener_manager_lds_update_time", []string{"listener"}, 1e-3},
		}},
		{"memory_bytes", "Envoy's heap: in use, and taken from the system.", gauge, []string{"state"}, []source{
			{"server_memory_allocated", []string{"allocated"}, 0},
			{"server_memory_heap_size", []string{"heap"}, 0},
		}},
		{"overload_pressure", "How full a resource is, from 0 to 1.", gauge, []string{"resource"}, []source{
			{"overload_envoy_resource_monitors_global_downstream_max_connections_pressure", []string{"connections"}, 1e-2},
			{"overload_envoy_resource_monitors_fixed_heap_pressure", []string{"heap"}, 1e-2},
		}},
		{"uptime_seconds", "How long this Envoy has been running.", gauge, nil,
			[]source{{"server_uptime", nil, 0}}},
		{"stalls_total", "Times that one of Envoy's threads did nothing for too long.", counter, []string{"thread"}, []source{
			{"workers_watchdog_miss", []string{"worker"}, 0},
			{"main_thread_watchdog_miss", []string{"main"}, 0},
		}},
	}
}

// statsFilter selects the statistics that Envoy is asked for. metricList uses some of
// them. Most of Envoy's histograms are not among them.
const statsFilter = `^(fairway_|http\.http[s3]?\.downstream_(rq_active|cx_upgrades_active)$|` +
	`listener\.http[s3]?\.(downstream_|ssl\.(handshake|connection_error)$)|listener_manager\.(total_|lds\.update_)|` +
	`cluster_manager\.(active_clusters|cds\.update_)|control_plane\.connected_state$|` +
	`server\.(memory_|uptime$)|overload\..*pressure$|(workers|main_thread)\.watchdog_miss$)`

const prefix = "fairway_gateway_"

func (m metric) description() *prometheus.Desc {
	return prometheus.NewDesc(prefix+m.name, m.help, m.labels, nil)
}

// The metrics that only this process knows, and those made of names of clusters.
func serviceRequests() *prometheus.Desc {
	return prometheus.NewDesc(prefix+"service_requests_total",
		"Requests that were routed to a Service, by status code; a bounded number of Services.",
		[]string{"namespace", "service", "port", "code"}, nil)
}

func identity() *prometheus.Desc {
	return prometheus.NewDesc(prefix+"info", "1; whose requests this process counts.", []string{"gateway"}, nil)
}

func ready() *prometheus.Desc {
	return prometheus.NewDesc(prefix+"ready", "1 while this gateway is ready.", nil, nil)
}

func restarts() *prometheus.Desc {
	return prometheus.NewDesc(prefix+"restarts_total", "Times that Envoy was started again.", nil, nil)
}

func configurationAge() *prometheus.Desc {
	return prometheus.NewDesc(prefix+"configuration_age_seconds",
		"How long no controller has been connected that is in contact with the API server; while one is, about 0.", nil, nil)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, metric := range metricList() {
		ch <- metric.description()
	}
	for _, d := range []*prometheus.Desc{identity(), serviceRequests(), setAsideDesc(), ready(), restarts(), configurationAge()} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. If Envoy does not answer, it collects only the
// metrics that this process knows.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	isReady := 0.0
	if m.Process.Ready(ctx) == nil {
		isReady = 1
	}
	ch <- prometheus.MustNewConstMetric(identity(), prometheus.GaugeValue, 1, m.Process.Bootstrap.Gateway)
	ch <- prometheus.MustNewConstMetric(ready(), prometheus.GaugeValue, isReady)
	ch <- prometheus.MustNewConstMetric(restarts(), prometheus.CounterValue, float64(m.Process.restarts.Load()))
	ch <- prometheus.MustNewConstMetric(configurationAge(), prometheus.GaugeValue, m.age(ctx).Seconds())
	families, err := m.Process.Admin().stats(ctx, statsFilter)
	if err != nil {
		m.Process.Log.V(1).Info("envoy tells no statistics", "cause", err.Error())
		return
	}
	left := maxSeries
	for _, metric := range metricList() {
		metric.collect(families, ch, &left)
	}
	m.collectSetAside(ctx, ch, &left)
	collectServices(families["envoy_fairway_services_requests"], ch, &left)
}

// collect collects one metric of Envoy.
func (m metric) collect(families map[string]*dto.MetricFamily, ch chan<- prometheus.Metric, left *int) {
	for _, from := range m.from {
		for _, sample := range families["envoy_"+from.family].GetMetric() {
			if *left--; *left < 0 {
				return
			}
			values := from.values(sample)
			if h := sample.GetHistogram(); h != nil {
				*left -= len(h.GetBucket())
				ch <- from.histogram(m.description(), h, values)
				continue
			}
			ch <- prometheus.MustNewConstMetric(m.description(), m.kind, valueOf(sample)*from.factor(), values...)
		}
	}
}

func (s source) factor() float64 {
	if s.scale == 0 {
		return 1
	}
	return s.scale
}

// values are those of the labels.
func (s source) values(sample *dto.Metric) []string {
	var values []string
	for _, value := range s.labels {
		if name, ok := strings.CutPrefix(value, "$"); ok {
			value = labelOf(sample, name)
		}
		values = append(values, value)
	}
	return values
}

func labelOf(sample *dto.Metric, name string) string {
	for _, label := range sample.GetLabel() {
		if label.GetName() == name {
			return strings.ToValidUTF8(label.GetValue(), "?")
		}
	}
	return ""
}

func valueOf(sample *dto.Metric) float64 {
	return sample.GetCounter().GetValue() + sample.GetGauge().GetValue() + sample.GetUntyped().GetValue()
}

func (s source) histogram(d *prometheus.Desc, h *dto.Histogram, values []string) prometheus.Metric {
	buckets := map[float64]uint64{}
	for _, bucket := range h.GetBucket() {
		buckets[bucket.GetUpperBound()*s.factor()] = bucket.GetCumulativeCount()
	}
	return prometheus.MustNewConstHistogram(d, h.GetSampleCount(), h.GetSampleSum()*s.factor(), buckets, values...)
}

// collectServices adds up the clusters of each Service port.
func collectServices(family *dto.MetricFamily, ch chan<- prometheus.Metric, left *int) {
	sums := map[[4]string]float64{}
	for _, sample := range family.GetMetric() {
		if port, ok := envoy.ServiceOf(labelOf(sample, "cluster")); ok {
			key := [4]string{port.Service.Namespace, port.Service.Name, strconv.Itoa(int(port.Port)), labelOf(sample, "code")}
			sums[key] += valueOf(sample)
		}
	}
	var keys [][4]string
	for key := range sums {
		keys = append(keys, key)
	}
	// If there are too many, those with the most requests count.
	slices.SortFunc(keys, func(a, b [4]string) int {
		if sums[a] != sums[b] {
			return int(sums[b] - sums[a])
		}
		return slices.Compare(a[:], b[:])
	})
	for _, key := range keys {
		if *left--; *left < 0 {
			return
		}
		ch <- prometheus.MustNewConstMetric(serviceRequests(), prometheus.CounterValue, sums[key], key[:]...)
	}
}
