// Package metricnames learns which metrics a process registers, for tests that compare them
// with the documentation.
package metricnames

import (
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
)

// Registerer collects the names of what is registered with it.
type Registerer struct {
	prometheus.Registerer

	Names []string
}

var nameOfDesc = regexp.MustCompile(`fqName: "([^"]*)"`)

// Register implements prometheus.Registerer.
func (r *Registerer) Register(c prometheus.Collector) error {
	const most = 100 // descriptions of one collector
	descriptions := make(chan *prometheus.Desc, most)
	c.Describe(descriptions)
	close(descriptions)
	for description := range descriptions {
		r.Names = append(r.Names, nameOfDesc.FindStringSubmatch(description.String())[1])
	}
	return nil
}
