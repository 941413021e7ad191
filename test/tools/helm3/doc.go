// Package helm3 pins the oldest Helm that the chart supports. It has no code of its
// own: "go build" in this module builds the command.
package helm3
