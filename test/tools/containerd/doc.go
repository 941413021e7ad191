// Package containerd pins the container runtime of the lab's nodes. It has no
// code of its own: "go build tool" in this module builds the commands.
package containerd
