// Package link connects pods to their node: a pair of veth interfaces for each pod,
// its addresses, routes and neighbours, and limits of its bandwidth. It is the only
// user of the netlink library.
//
// It is no address management and knows no pods, only namespaces and addresses.
// It writes no nftables.
//
// Its invariants: a wire is there whole or not at all; no function removes or changes
// an interface that does not carry the mark of the wire's owner, whatever its name is;
// and everything on the host goes with the host's end of the wire.
package link
