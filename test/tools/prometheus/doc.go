// Package prometheus pins promtool, which tests alerts. It has no code of its own:
// "go build" in this module builds the command.
package prometheus
