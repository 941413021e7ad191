package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// hsts is the value of Strict-Transport-Security for a route's answers over
// HTTPS.
func hsts(r route.Route, s route.Settings) *route.HSTS { return r.HSTS.Of(s.TLS) }

// sameHSTS reports whether both settings give the same header for hosts that do
// not set their own.
func sameHSTS(a, b route.Settings) bool {
	if a.TLS.HSTS == nil || b.TLS.HSTS == nil {
		return a.TLS.HSTS == b.TLS.HSTS
	}
	return *a.TLS.HSTS == *b.TLS.HSTS
}

// secureRouteOf is the route of requests over HTTPS. It keeps a header that the
// backend sets. Over HTTP browsers ignore the header (RFC 6797, 7.2).
func secureRouteOf(r route.Route, match *routev3.RouteMatch, s route.Settings) *routev3.Route {
	out := routeOf(r, match)
	if said := hsts(r, s); said != nil {
		out.ResponseHeadersToAdd = []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: "strict-transport-security", Value: said.String()},
			AppendAction: corev3.HeaderValueOption_ADD_IF_ABSENT,
		}}
	}
	return out
}
