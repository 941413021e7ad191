// Package loadbalancer gives addresses to Services of type LoadBalancer. The leading controller
// runs it.
//
// It gathers and writes; what it gives proxy/loadbalancer decides. Its invariants: an address is
// recorded in a Lease before a Service gets it and until the Service has it no more, so no two
// leaders give one address twice (ADR 27); nothing is given before all that exists is known; and
// a Service costs no other its address.
package loadbalancer
