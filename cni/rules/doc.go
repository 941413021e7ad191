// Package rules is the nftables of the pod network: what pods' wires pass, what leaves the
// cluster with the node's address, host ports, and the size of TCP segments.
//
// It makes values; proxy/nft writes them. Its invariant: its fixed rules hold for every pod
// from its first packet on, without an element of its own, so no pod waits for them. Only
// host ports need elements.
package rules
