// Package loadbalancer decides about addresses of Services of type LoadBalancer: which
// Service gets which, and which node answers for one.
//
// All of it is pure. The leading controller asks a Book; the agents of nodes ask Turn, each
// for itself. Their invariants: a Book gives no address to two Services that do not share it,
// and never takes one away that a Service still may have; and of nodes that see the same, one
// takes an address. What they see may differ, so both write with compare-and-swap (ADR 27).
package loadbalancer
