// Package simulated is Envoy as a delta ADS server sees it: a client that
// subscribes, accepts, refuses, delays, stalls, goes away and comes back as
// Envoy 1.40 does, and that checks every response for faults that an Envoy must
// never see. It serves no request. Tests and benchmarks of xds/server use it where
// they want many Envoys, strange ones, or the same history twice. The tests with a
// real Envoy show that it is true to the real one.
//
// Its behaviour was recorded from Envoy 1.40.0:
//
//   - CDS first, as a legacy wildcard (no names). When a response names EDS
//     clusters, EDS is subscribed by service name before CDS is ACKed. LDS
//     follows when all endpoints of the first clusters are there; SRDS follows a
//     listener with scoped routes, RDS by name follows the scopes.
//   - Once it is initialised, CDS is silent while a cluster warms: neither ACK
//     nor NACK, nor after a reconnect the first request, leaves before. A
//     cluster that was added or changed warms until its EDS resource arrives
//     (again): nothing is asked for anew if the name is subscribed already.
//   - A NACK of CDS or LDS has taken effect for the good resources and the
//     removals of its response; one of RDS, EDS or SRDS may have or not. In no
//     case do the versions that Envoy tells at its next reconnect know of it.
//   - removed_resources of RDS and EDS are ACKed and forgotten, but what was
//     there stays in use.
//   - A reconnect tells all names and all accepted versions, each type with its
//     first request, all types at once.
package simulated
