// Package network reconciles a node's pod network with the Nodes of the cluster: which
// addresses its pods get, how it reaches those of the others, and what it tells them of
// itself.
//
// It has one key, the node itself, because which way leads to a node can depend on all
// others: two may claim one address or range. Building all ways is cheap; what is written
// into the kernel is the difference.
package network
