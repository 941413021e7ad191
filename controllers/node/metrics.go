package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/keeper"
)

// Metrics are those of an agent.
type Metrics struct {
	addresses, used, routes *prometheus.GaugeVec
	reclaimed               *prometheus.CounterVec
	mended                  prometheus.Counter
	passes                  *prometheus.CounterVec
}

// NewMetrics registers the metrics. Counters are read at each scrape.
func NewMetrics(registry prometheus.Registerer, counters Counters) (*Metrics, error) {
	m := &Metrics{
		addresses: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairway_node_addresses", Help: "Addresses that pods of this node can have, by range.",
		}, []string{"range"}),
		used: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairway_node_addresses_used", Help: "Addresses that pods of this node have, by range.",
		}, []string{"range"}),
		routes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairway_node_routes", Help: "Ranges of other nodes' pods, by the way that leads to them.",
		}, []string{"way"}),
		reclaimed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_node_reclaimed_total", Help: "Addresses that were freed because no pod had them any more, by the reason.",
		}, []string{"verdict"}),
		mended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_node_mended_total", Help: "Changes of the pod network by others that were undone.",
		}),
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_node_passes_total", Help: "Comparisons of the kernel with what is wanted, by whether it then had all of it.",
		}, []string{"complete"}),
	}
	for _, collector := range []prometheus.Collector{m.addresses, m.used, m.routes, m.reclaimed, m.mended, m.passes, drops{counters}} {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// passed counts a pass, and measures what it has left.
func (m *Metrics) passed(r keeper.Report, usage []ipam.Usage) {
	complete := "true"
	if r.Err != nil {
		complete = "false"
	}
	m.passes.WithLabelValues(complete).Inc()
	link, overlay := 0, 0
	for _, route := range r.Wanted.Routes {
		if route.Overlay == "" {
			link++
		} else {
			overlay++
		}
	}
	m.routes.WithLabelValues("link").Set(float64(link))
	m.routes.WithLabelValues("overlay").Set(float64(overlay))
	m.addresses.Reset()
	m.used.Reset()
	for _, each := range usage {
		m.addresses.WithLabelValues(each.Range.String()).Set(float64(each.Size))
		m.used.WithLabelValues(each.Range.String()).Set(float64(each.Used))
	}
}
