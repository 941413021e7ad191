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

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/controllers/objects/report"
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
	told := map[string]bool{}
	for _, found := range regexp.MustCompile("(?m)^\\| `(fairway_node_[a-z_]+)`").FindAllStringSubmatch(page, -1) {
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
