// Package keeper keeps the kernel of a node as its pod network needs it: forwarding, the
// overlay and the routes to other nodes' pods, nftables, and the host's ends of pods' wires.
//
// It decides nothing: what is wanted is published to it, and pods are known by their leases.
// Each pass makes everything so and says what somebody else had changed meanwhile.
//
// Its invariants: nothing is removed before it is known what is wanted; what is another's
// stays; one peer, pod or part of a table that fails costs none of the others; and when it
// ends, everything stays as it is.
package keeper
