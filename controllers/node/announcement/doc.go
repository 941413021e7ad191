// Package announcement makes a node answer for load-balancer addresses: it takes its turn
// with the other nodes, and keeps the record of what it holds.
//
// It gathers what a node sees of an address, asks proxy/loadbalancer whose turn it is, and
// does that: a compare-and-swap of the address's Lease, and then answers on the link. Its
// invariants: it answers only for addresses whose record names this node; it becomes a holder
// only while the API server knows that it lives; and it goes on answering when the API server
// is away, also in an agent that starts meanwhile, until somebody else is heard (ADR 27).
package announcement
