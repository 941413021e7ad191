package node

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/proxy/nft"
)

// Counters reads the counters of a table. An *nft.Engine does.
type Counters interface {
	Counters(ctx context.Context, k nft.TableKey) (map[string]nft.Counted, error)
}

// drops are the packets that the tables have dropped, as the kernel counts them.
type drops struct{ counters Counters }

var dropped = prometheus.NewDesc("fairway_node_dropped_packets_total",
	"Packets that the tables of the pod network dropped, by the reason and the family of the table.", []string{"reason", "family"}, nil)

// Describe implements prometheus.Collector.
func (drops) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- dropped }

// Collect implements prometheus.Collector. A table that cannot be read has no samples: an
// error would cost the page all others, and whoever writes the table says what is wrong.
func (d drops) Collect(samples chan<- prometheus.Metric) {
	const patience = 2 * time.Second // a commit may be under way
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, family := range []nft.Family{nft.IPv4, nft.IPv6} {
		all, err := d.counters.Counters(ctx, rules.Key(family))
		if err != nil {
			continue
		}
		for reason, counted := range all {
			samples <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(counted.Packets), reason, family.String())
		}
	}
}
