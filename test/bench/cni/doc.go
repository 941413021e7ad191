// Package cni measures the network of pods: what the plugin costs a pod's start and
// end, and what packets cost, beside what other plugins cost in the same run. It asserts
// nothing about time; docs/benchmarks.md has its output and the machine.
package cni
