// Package envoy renders the model of xds/route into Envoy's configuration: one
// pure function per resource, from plain values to the bytes that are sent.
//
// It knows Envoy and not Kubernetes, and neither streams nor versions: when a
// resource is sent, and to whom, is the business of xds/server.
//
// Its invariants: equal values give equal bytes, whatever is rendered is
// accepted by Envoy, and no text is ever composed into a configuration
// language. The one script (fallback.lua) is a constant.
package envoy
