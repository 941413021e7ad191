// Package runc pins runc, which containerd runs. It is a module of its own,
// because containerd requires other versions of their common dependencies. It has
// no code.
package runc
