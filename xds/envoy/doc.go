// Package envoy renders the model of xds/route into Envoy's configuration. It has
// one pure function per resource, from plain values to the bytes that are sent.
//
// The package knows Envoy but not Kubernetes, streams or versions: xds/server
// decides when a resource is sent, and to which Envoy.
//
// Its invariants: equal values give equal bytes, Envoy accepts all output, and no
// configuration language is composed from text. The Lua scripts are constants.
package envoy
