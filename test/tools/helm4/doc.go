// Package helm4 pins the newest Helm that the chart supports. It has no code of its
// own: "go build" in this module builds the command.
package helm4
