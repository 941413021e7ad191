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

// clientHeader carries the policy by which the client of a request was verified:
// that of the filter chain of its connection. It is ours: what a client sends in
// it is thrown away, and no backend sees it.
const clientHeader = "x-fairway-client"

// clientFilter keeps the identity of a client from hosts that did not ask for
// it. It is in the chains alone in which there is any.
const clientFilter = "fairway.client"

//go:embed client.lua
var clientScript string

// misdirected is the reason of the answer 421, which has a client repeat its
// request over a connection of its own.
const misdirected = "ClientCertificate"

// guarded are the routes of a host that demands certificates of clients, behind
// the one question that counts: was this done for the connection? By which
// server name, port or protocol it came does not matter, so that there is no way
// around it. Others are told to connect anew, over HTTPS; but certificate
// authorities are answered.
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

// clientMetadata tells the filter what the host asks for.
func clientMetadata(p route.ClientPolicy) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		clientFilter: {Fields: map[string]*structpb.Value{"policy": structpb.NewStringValue(p.String())}},
	}}
}
