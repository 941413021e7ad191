// Package service makes of Services what nftables of one node must hold, so that packets to
// them reach their endpoints.
//
// Build reads a Service and its EndpointSlices and decides, in plain values, where each of
// its addresses leads on this node. Parts turns that into elements of the tables that Tables
// has. Both are pure. The semantics are kube-proxy's. The layout is that of ADR 24: every
// Service is elements of the same few maps, so its cost does not depend on how many others
// there are. Its invariant: what a Service is in the kernel depends on the objects alone, and
// not on what they were before.
package service
