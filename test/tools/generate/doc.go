// Package generate pins controller-gen in a module of its own, so that its
// dependencies are not the project's. It has no code.
package generate
