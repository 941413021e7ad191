// Package lint pins golangci-lint in a module of its own, so that its many
// dependencies are not the project's. It has no code.
package lint
