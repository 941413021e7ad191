// Package kubernetes pins the Kubernetes commands that tests run. It has no
// code of its own: "go build tool" in this module builds the commands.
package kubernetes
