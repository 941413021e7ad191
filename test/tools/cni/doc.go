// Package cni pins the reference CNI plugins and cnitool: the lab has a network of them, tests
// chain them after ours, and benchmarks run them beside ours. It has no code of its own:
// "go build tool" builds the commands.
package cni
