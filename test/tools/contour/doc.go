// Package contour pins Contour, which the benchmarks of test/peers run beside
// Fairway. It has no code of its own: "go build" in this module builds the
// command.
package contour
