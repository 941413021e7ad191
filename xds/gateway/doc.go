// Package gateway runs one Envoy: it writes the bootstrap that leads Envoy to
// the xDS server, starts Envoy as a child, restarts it when it crashes, says
// whether it serves, and drains it before it stops it.
//
// It knows nothing of hosts and routes, and talks to the xDS server only
// through Envoy. Its invariant: as long as Run has not returned there is one
// Envoy or one about to be started, and when it has returned there is none.
//
// Envoy's admin interface can end Envoy and shows its configuration. It is a
// Unix socket that only this user can open; nothing of it is ever on the
// network.
package gateway
