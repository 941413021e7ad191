// Package gateway runs one Envoy: it writes the bootstrap that leads Envoy to the xDS
// server, starts Envoy as a child, restarts it when it crashes, reports whether it serves,
// and drains it before it stops it. It also proves to the controllers which certificates
// Envoy serves (Prover).
//
// It knows nothing of hosts and routes. Its invariant: as long as Run has not returned
// there is one Envoy or one about to be started, and when it has returned there is none.
//
// Envoy's admin interface can end Envoy and shows its configuration. It is a Unix socket
// that only this user can open, and never on the network.
package gateway
