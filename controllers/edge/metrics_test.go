package edge

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/test/metricnames"
	"github.com/fairwaynet/fairway/xds/server"
)

func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := &metricnames.Registerer{}
	if _, err := NewMetrics(all); err != nil {
		t.Fatal(err)
	}
	ads := server.New(server.Options{})
	defer ads.Close()
	for _, c := range []prometheus.Collector{report.New(), ads} {
		if err := all.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	if len(all.Names) < 10 {
		t.Errorf("only %d metrics: %v", len(all.Names), all.Names)
	}
	for _, name := range all.Names {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/metrics.md does not tell of %s", name)
		}
	}
}
