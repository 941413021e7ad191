package node

import (
	"context"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/controllers/node/announcement"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/proxy/keeper"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/test/metricnames"
)

// The page lists exactly the metrics of the agent, and all reasons of dropped packets.
func TestEveryMetricIsDocumented(t *testing.T) {
	content, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	all := &metricnames.Registerer{}
	if _, err := NewMetrics(all, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := NewServiceMetrics(all); err != nil {
		t.Fatal(err)
	}
	if _, err := NewPolicyMetrics(all); err != nil {
		t.Fatal(err)
	}
	if _, err := announcement.NewMetrics(all, func() int { return 0 }); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, found := range regexp.MustCompile("(?m)^\\| `((?:fairway_node|kubeproxy)_[a-z_]+)`").FindAllStringSubmatch(page, -1) {
		told[found[1]] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(told)), slices.Sorted(slices.Values(all.Names))); diff != "" {
		t.Errorf("docs/metrics.md (-told +served):\n%s", diff)
	}
	for _, reason := range rules.Tables(rules.Overlay{})[0].Counters {
		if !strings.Contains(page, "`"+reason+"`") {
			t.Errorf("docs/metrics.md does not tell of packets that are dropped as %s", reason)
		}
	}
	if err := all.Register(report.New()); err != nil || !strings.Contains(page, "`"+all.Names[len(all.Names)-1]+"`") {
		t.Errorf("docs/metrics.md does not tell of %v, %v", all.Names, err)
	}
}

// counted are the counters of a kernel without IPv6.
type counted map[string]nft.Counted

func (c counted) Counters(_ context.Context, k nft.TableKey) (map[string]nft.Counted, error) {
	switch {
	case c == nil:
		return nil, errors.New("the kernel does not answer")
	case k == rules.Key(nft.IPv4):
		return c, nil
	}
	return nil, nil
}

func TestDroppedPacketsAreTheKernelsNumbers(t *testing.T) {
	want := `# HELP fairway_node_dropped_packets_total Packets that the tables of the pod network dropped, by the reason and the family of the table.
# TYPE fairway_node_dropped_packets_total counter
fairway_node_dropped_packets_total{family="ip",reason="loopback"} 0
fairway_node_dropped_packets_total{family="ip",reason="spoofed"} 3
`
	kernel := counted{rules.Spoofed: {Packets: 3, Bytes: 300}, rules.Loopback: {}}
	if err := testutil.CollectAndCompare(drops{kernel}, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if samples := testutil.CollectAndCount(drops{counted(nil)}); samples != 0 {
		t.Errorf("a kernel that does not answer has %d samples", samples)
	}
}

// What is measured is what kube-proxy measures under the same name.
func TestCommitsAreMeasuredAsKubeProxyDoes(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := NewServiceMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	m.committed(keeper.Report{Took: 3 * time.Millisecond, Triggered: []time.Time{now.Add(-40 * time.Second)}}, now)
	m.committed(keeper.Report{Err: errors.New("refused"), Triggered: []time.Time{now}}, now.Add(time.Minute))
	m.compared(0, nil)
	m.suspected(2)
	want := `# HELP fairway_node_service_differences Objects of which the agent does not have what the API server has, for half a minute or more.
# TYPE fairway_node_service_differences gauge
fairway_node_service_differences 2
# HELP kubeproxy_sync_proxy_rules_last_timestamp_seconds The last time proxy rules were successfully synced
# TYPE kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge
kubeproxy_sync_proxy_rules_last_timestamp_seconds 1.8e+09
# HELP kubeproxy_sync_proxy_rules_nftables_sync_failures_total Cumulative proxy nftables sync failures
# TYPE kubeproxy_sync_proxy_rules_nftables_sync_failures_total counter
kubeproxy_sync_proxy_rules_nftables_sync_failures_total 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "fairway_node_service_differences",
		"kubeproxy_sync_proxy_rules_last_timestamp_seconds", "kubeproxy_sync_proxy_rules_nftables_sync_failures_total"); err != nil {
		t.Error(err)
	}
	for name, sum := range map[string]float64{
		"kubeproxy_sync_proxy_rules_duration_seconds": 0.003, "kubeproxy_network_programming_duration_seconds": 40,
	} {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == name })
		if got := families[i].GetMetric()[0].GetHistogram().GetSampleSum(); got != sum {
			t.Errorf("%s is %v, want %v", name, got, sum)
		}
	}
}
