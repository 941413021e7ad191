package edge

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/xds/server"
)

func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := &described{}
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
	if len(all.names) < 10 {
		t.Errorf("only %d metrics: %v", len(all.names), all.names)
	}
	for _, name := range all.names {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/metrics.md does not tell of %s", name)
		}
	}
}

// described is a Registerer that collects names.
type described struct {
	prometheus.Registerer

	names []string
}

var nameOfDesc = regexp.MustCompile(`fqName: "([^"]*)"`)

func (d *described) Register(c prometheus.Collector) error {
	descriptions := make(chan *prometheus.Desc, 100)
	c.Describe(descriptions)
	close(descriptions)
	for description := range descriptions {
		d.names = append(d.names, nameOfDesc.FindStringSubmatch(description.String())[1])
	}
	return nil
}
