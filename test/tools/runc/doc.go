// Package runc pins runc, which containerd runs, in a module of its own because
// containerd asks for other versions of what they share. It has no code.
package runc
