package main

import (
	"os"
	"slices"
	"testing"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// The schema of the chart's values knows the flags of the processes, so that a misspelt one in
// extraArgs is refused.
func TestTheChartKnowsAllFlags(t *testing.T) {
	content, err := os.ReadFile("../../charts/generate/flags.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var chart struct {
		Controller, Gateway, Node []string
		Elsewhere                 map[string]string
	}
	if err := yaml.UnmarshalStrict(content, &chart); err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{"controller": chart.Controller, "gateway": chart.Gateway, "node": chart.Node}
	for _, command := range commands(streams{}) {
		flags, ours := known[command.Name()]
		if !ours {
			continue
		}
		command.Flags().VisitAll(func(flag *pflag.Flag) {
			if chart.Elsewhere[flag.Name] == "" && !slices.Contains(flags, flag.Name) {
				t.Errorf("charts/generate/flags.yaml: %s lacks %s", command.Name(), flag.Name)
			}
		})
		for _, name := range flags {
			if command.Flags().Lookup(name) == nil {
				t.Errorf("charts/generate/flags.yaml: %s has no flag %s", command.Name(), name)
			}
		}
	}
}
