package announcement

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of a node that answers for addresses.
type Metrics struct {
	takeovers prometheus.Counter
}

// NewMetrics registers metrics. Held are the addresses that are answered for.
func NewMetrics(registry prometheus.Registerer, held func() int) (*Metrics, error) {
	m := &Metrics{takeovers: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "fairway_node_balancer_takeovers_total", Help: "Load-balancer addresses for which this node became the one that answers.",
	})}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairway_node_balancer_addresses", Help: "Load-balancer addresses for which this node answers.",
	}, func() float64 { return float64(held()) })
	for _, c := range []prometheus.Collector{m.takeovers, gauge} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) took() {
	if m != nil {
		m.takeovers.Inc()
	}
}

// Held is how many addresses the node answers for.
func (s *Speaker) Held() int {
	s.mu.Lock()
	announcer := s.announcer
	s.mu.Unlock()
	if announcer == nil {
		return 0 // it has not started
	}
	return len(announcer.Held())
}
