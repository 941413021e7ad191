package envoy

import (
	_ "embed"
	"net/http"

	"google.golang.org/protobuf/types/known/structpb"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// clientHeader carries the client policy of the connection's filter chain, by
// which Envoy verified the client. The header is internal: Envoy removes it from
// requests of clients, and backends do not see it.
const clientHeader = "x-fairway-client"

// clientFilter hides the client's identity from hosts that did not ask for it.
// Only chains that request client certificates have this filter.
const clientFilter = "fairway.client"

//go:embed client.lua
var clientScript string

// misdirected is the reason for a 421 answer, which makes a client repeat its
// request over a new connection.
const misdirected = "ClientCertificate"

// guarded are the routes of a host that requires client certificates. They apply
// only if Envoy verified the client of this connection by the host's policy. The
// check ignores server name, port and protocol, so none of them can bypass it.
// Other clients get 421 or a redirect to HTTPS, so that they connect again;
// challenges of certificate authorities are answered in any case.
func guarded(h *route.Host, s route.Settings, routes []*routev3.Route) *matcherv3.Matcher {
	inside := routeList(routes)
	if len(routes) > listedRoutes {
		inside = below(pathTree(routes))
	}
	outside := challenges(h)
	if redirects(h, s) {
		outside = redirectedAll(h, s)
	}
	outside = append(outside, &routev3.Route{
		Name:     noRoute,
		Match:    anyPath(),
		Action:   directResponse(http.StatusMisdirectedRequest, ""),
		Metadata: reasonMetadata(misdirected),
	})
	return byHeader(clientHeader, h.Client.String(), inside, routeList(outside))
}

// clientMetadata tells the filter which policy the host requires.
func clientMetadata(p route.ClientPolicy) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		clientFilter: {Fields: map[string]*structpb.Value{"policy": structpb.NewStringValue(p.String())}},
	}}
}
