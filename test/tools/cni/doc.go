// Package cni pins the reference CNI plugins, which the lab's reference network
// runs. It has no code of its own: "go build tool" builds the commands.
package cni
