package leader

import (
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
)

// New returns an Elector that takes part in the election with a client of its own, so
// that a queue of other requests cannot cost it the lease.
func New(config *rest.Config, lease types.NamespacedName, identity string, terms Durations, log logr.Logger) (*Elector, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 10, 20
	config.Timeout = max(terms.Renew/2, time.Second)
	leases, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &Elector{Leases: leases, Lease: lease, Identity: identity, Terms: terms, Log: log}, nil
}

// Exporting collects metrics that are the same on every replica. Only the leader
// exports them, so that a sum over the replicas is right.
type Exporting struct {
	prometheus.Collector

	Elector *Elector
}

// Collect implements prometheus.Collector.
func (e Exporting) Collect(metrics chan<- prometheus.Metric) {
	if e.Elector.Leads() {
		e.Collector.Collect(metrics)
	}
}
