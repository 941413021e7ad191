// Package server is the delta ADS server: it keeps the configuration of each gateway and
// brings every connected Envoy to it.
//
// It is not a cache of snapshots. Controllers publish the wanted value of one key (a
// host, a Service port, a gateway's settings, a secret). The server renders the value,
// orders the resources that follow from it, and sends each Envoy what changed for it. A
// change costs the time of that change, not of the whole configuration.
//
// The stream of one Envoy is in ads.go, stream.go and subscription.go, response.go, ack.go
// and nack.go. The order of make before break is in host.go for changes, and in
// sendorder.go and synced.go for an Envoy that has just connected.
//
// # Contract
//
//   - A Publish method never waits for an Envoy. Of several values for a key the last one
//     counts; an equal value sends nothing.
//   - No stream is answered before Open: an Envoy never sees half of the first
//     configuration.
//   - Make before break. A host's new routes are released, for all Envoys together, only
//     when every synced Envoy has accepted every cluster that they name (its CDS, and its
//     EDS even if empty). A cluster is removed Options.ClusterGrace after the last Envoy has
//     removed the last route that names it. The last endpoint of a Service port is removed
//     only after the routes that are about to leave the port.
//   - A host's scope is added after its virtual host was ACKed, and removed before its
//     virtual host is.
//   - No response to an Envoy refers to a resource that this Envoy has not accepted. An
//     Envoy that is not synced (it is new, or has reconnected) gets clusters and endpoints
//     first, then routes. Changes do not wait for it.
//   - The server disconnects and counts an Envoy that does not answer a response within
//     Options.AckTimeout, and no longer waits for it.
//   - A NACK costs one host. The server takes the response apart until the resource at fault
//     is known, and in a RouteConfiguration the virtual host. That host goes back to its last
//     good version (or answers 503 if it never had one), and the Observer hears of it. Everything
//     else goes on.
//   - Unknown names are answered with removed_resources at once. The initial_resource_versions
//     of a reconnect count as ACKed where they agree.
//   - A server that ends is gone within seconds (Serve). It sends nothing more, and still takes
//     the answers that are under way. What is pending for an Envoy then counts as not served.
//   - A server that is not open, or is stale (its configuration cannot be kept up to date), is the
//     last choice. It admits an Envoy only if that has tried for Options.LastResortAfter, and so
//     found no other server.
//   - Memory is bounded: one response of each kind is in flight to an Envoy, changes in the
//     meantime are coalesced, and only pending resources are remembered for each Envoy.
//
// Versions are hashes of a resource's bytes: replicas and restarts agree on them without
// talking to one another.
package server
