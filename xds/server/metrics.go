package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/xds/proof/verifier"
)

// metrics are those of the server; docs/metrics.md explains them.
type metrics struct {
	envoys        prometheus.GaugeFunc
	responses     *prometheus.CounterVec
	bytes         *prometheus.CounterVec
	acks          *prometheus.HistogramVec
	nacks         *prometheus.CounterVec
	timeouts      prometheus.Counter
	unauthorized  prometheus.Counter
	sentElsewhere prometheus.Counter

	proofs       *prometheus.CounterVec
	proofSeconds prometheus.Histogram
	proofStates  proofStates
}

// proofStates counts the certificates of gateways by the state of their proof.
type proofStates func() verifier.States

func (proofStates) description() *prometheus.Desc {
	return prometheus.NewDesc("fairway_certificate_proofs",
		"Certificates of connected gateways, by whether the gateway has seen its Envoy serve them.", []string{"state"}, nil)
}

// Describe implements prometheus.Collector.
func (p proofStates) Describe(ch chan<- *prometheus.Desc) { ch <- p.description() }

// Collect implements prometheus.Collector.
func (p proofStates) Collect(ch chan<- prometheus.Metric) {
	states := p()
	for state, n := range map[string]int{
		"proved": states.Proved, "waiting": states.Waiting, "failing": states.Failing, "impossible": states.Impossible,
	} {
		ch <- prometheus.MustNewConstMetric(p.description(), prometheus.GaugeValue, float64(n), state)
	}
}

func newMetrics(envoys func() float64, proofs proofStates) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"type"})
	}
	return &metrics{
		envoys: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairway_xds_envoys",
			Help: "Envoys that are connected and have caught up.",
		}, envoys),
		responses: counter("fairway_xds_responses_total", "Responses sent to Envoys."),
		bytes:     counter("fairway_xds_response_bytes_total", "Bytes of the resources sent to Envoys."),
		acks: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fairway_xds_ack_seconds",
			Help:    "Time from a response to its ACK.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}, []string{"type"}),
		nacks: counter("fairway_xds_nacks_total", "Responses that an Envoy refused. Each is a defect of Fairway."),
		timeouts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_xds_timeouts_total",
			Help: "Envoys that were disconnected because they did not answer a response in time.",
		}),
		unauthorized: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_xds_strangers_total",
			Help: "Streams that were turned away because their certificate is not of the gateway that they asked for.",
		}),
		sentElsewhere: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_xds_sent_elsewhere_total",
			Help: "Streams that were turned away, to another controller, because the picture here is not kept up to date.",
		}),
		proofs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_certificate_proofs_total",
			Help: "Handshakes in which a gateway looked whether its Envoy serves a certificate.",
		}, []string{"result"}),
		proofSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairway_certificate_served_seconds",
			Help:    "Time from the publication of a certificate until a gateway saw its Envoy serve it.",
			Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}),
		proofStates: proofs,
	}
}

// Describe makes Server a prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.metrics.all() {
		c.Describe(ch)
	}
}

// Collect makes Server a prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.metrics.all() {
		c.Collect(ch)
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.envoys, m.responses, m.bytes, m.acks, m.nacks, m.timeouts, m.unauthorized, m.sentElsewhere, m.proofs, m.proofSeconds, m.proofStates}
}
