package gateway

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// setAsideStat ends the name of the one statistic that Envoy keeps for each cluster of a
// Service: the number of its endpoints that are set aside.
const setAsideStat = ".outlier_detection.ejections_active"

func setAsideDesc() *prometheus.Desc {
	return prometheus.NewDesc(prefix+"endpoints_set_aside",
		"Endpoints of a Service port that this Envoy sets aside, because it cannot connect to them.",
		[]string{"namespace", "service", "port"}, nil)
}

// collectSetAside collects the Services with endpoints that are set aside. Envoy has no
// statistic of clusters that never had one.
func (m *Metrics) collectSetAside(ctx context.Context, ch chan<- prometheus.Metric, left *int) {
	families, err := m.Process.Admin().statsInUse(ctx, `^cluster\..*\.outlier_detection\.ejections_active$`)
	if err != nil {
		return
	}
	most := map[[3]string]float64{}
	for name, family := range families {
		// Envoy takes the rest of a cluster's name after a dot for a part of the statistic's.
		if !strings.HasSuffix(name, "outlier_detection_ejections_active") {
			continue
		}
		for _, sample := range family.GetMetric() {
			if port, ok := serviceOf(labelOf(sample, "envoy_cluster_name")); ok && valueOf(sample) > 0 {
				key := [3]string{port.Service.Namespace, port.Service.Name, strconv.Itoa(int(port.Port))}
				most[key] = max(most[key], valueOf(sample)) // its clusters share the endpoints
			}
		}
	}
	var keys [][3]string
	for key := range most {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b [3]string) int { return slices.Compare(a[:], b[:]) })
	for _, key := range keys[:min(len(keys), maxSetAside)] {
		if *left--; *left < 0 {
			return
		}
		ch <- prometheus.MustNewConstMetric(setAsideDesc(), prometheus.GaugeValue, most[key], key[:]...)
	}
}

// serviceOf is the Service port of a cluster by its name in a statistic, in which Envoy
// replaces every ":" by "_".
func serviceOf(cluster string) (route.ServicePort, bool) {
	endpoints, _, _ := strings.Cut(cluster, " ")
	if i := strings.LastIndexByte(endpoints, '_'); i >= 0 {
		endpoints = endpoints[:i] + ":" + endpoints[i+1:]
	}
	return envoy.ServiceOf(endpoints)
}

// maxSetAside bounds the Service ports that collectSetAside collects.
const maxSetAside = 100
