// Package server is the delta ADS server: it keeps one picture per gateway and
// brings every connected Envoy to it.
//
// It is not a cache of snapshots. Controllers publish the wanted value of one
// key (a host, a Service port, a gateway's settings, a secret); the server
// renders it, orders what follows from it, and sends each Envoy what changed
// for it, in the time of that change.
//
// # Contract
//
//   - Publish hands over and never waits for an Envoy. The last value published
//     for a key is the one that counts; publishing an equal value sends nothing.
//   - No stream is answered before Open: an Envoy never sees half of the first
//     picture.
//   - Make before break. A host's new routes are released, for all Envoys
//     together, only when every cluster that they name is accepted (its CDS, and
//     its EDS even if empty) by every synced Envoy. A cluster is removed once no
//     Envoy has a route that names it, plus Options.Grace; and the last endpoint of
//     a Service port not before the routes that are about to leave it have left.
//   - A host's scope is added after its virtual host was ACKed, and removed
//     before its virtual host is.
//   - No response to an Envoy refers to something which that Envoy has not
//     accepted. While an Envoy catches up (it is new, or reconnected) it is not
//     waited for; it gets clusters and endpoints first, then routes.
//   - An Envoy which does not answer a response within Options.AckTimeout is
//     disconnected, counted, and no longer waited for.
//   - A NACK costs one host. The response is taken apart until the resource at
//     fault, and in a RouteConfiguration the virtual host at fault, is known;
//     that host goes back to its last good version (or answers 503 if it never
//     had one) and the Observer hears of it. Everything else goes on.
//   - Unknown names are answered with removed_resources at once, and
//     initial_resource_versions of a reconnect count as ACKed where they agree.
//   - A server that ends is gone within seconds (Serve). It sends nothing more, and
//     hears what is under way; what an Envoy lacks is not served because of that.
//   - A server that is not open, or stale (its picture cannot be kept up to date),
//     is the last choice: it serves only who has asked for Options.LastResort, and
//     so has found no other.
//   - Memory is bounded: one response under way per type and Envoy, what changes
//     meanwhile is coalesced, and per Envoy only what it lacks is remembered.
//
// Versions are hashes of the resource's bytes: replicas and restarts agree on
// them without talking to one another.
package server
