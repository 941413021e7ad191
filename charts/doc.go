// Package charts holds the Helm chart. "go generate" writes what follows from the chart's
// values.yaml and from the custom resources: the schema of the values, the chart's README, its
// copy of the defaults, and its custom resource definitions.
package charts

//go:generate go run ./generate fairway ../config/crd
