// Package agent is what the plugin and the agent of a node say to one another: a file
// by which the agent tells every later ADD what holds on this node, and a socket by
// which an ADD waits until the agent has done what one pod needs.
//
// It is neither of the two. Its invariant: the file is whole or absent, and is of this
// boot, or it says nothing.
package agent
