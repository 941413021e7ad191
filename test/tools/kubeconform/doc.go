// Package kubeconform pins kubeconform, which holds rendered objects to the schemas
// of Kubernetes. It has no code of its own: "go build" in this module builds the
// command.
package kubeconform
