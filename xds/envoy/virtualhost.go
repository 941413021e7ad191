package envoy

import (
	"net/http"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// noRoute names the route that answers 404. The name is not empty, because the
// fallback takes a request without a route name for one with an unknown host.
const noRoute = "-"

// VirtualHost is everything served under one host, marshalled for
// RouteConfiguration. It depends only on the settings that SameHosts compares:
// the HTTPS port, HSTS, and whether there is a body limit. A change of other
// settings changes no virtual host. The virtual host itself answers 404 to paths
// that no route matches, so that they do not fall through to a wildcard or the
// default host. (A host that serves all paths does without that route, which
// costs Envoy almost 2 KB.) A default host that serves nothing has no routes,
// because nothing comes after it.
func VirtualHost(h *route.Host, s route.Settings) []byte {
	host := &routev3.VirtualHost{
		Name:        hostName(h.Key.Host),
		Domains:     []string{scopeKey(h.Key.Host)},
		RetryPolicy: retryPolicy(),

		RequestBodyBufferLimit: wrapperspb.UInt64(retryBody),
	}
	if isExact(h.Key.Host) && s.MaxRequestBody <= 0 {
		host.TypedPerFilterConfig = map[string]*anypb.Any{bodyLimitFilter: disabled()} // except for routes that have a limit
	}
	if h.Key.Host == route.AnyHost && len(h.Routes) == 0 {
		return marshal(host) // Envoy answers that there is no such host (see localReplies)
	}
	routes := routesOf(h, overHTTPS(s))
	switch isLong := len(routes) > listedRoutes; {
	case h.Client != nil:
		host.Metadata, host.Matcher = clientMetadata(*h.Client), guarded(h, s, routes)
	case isLong && redirectsAll(h, s):
		host.Matcher = byScheme(routeList(redirectedAll(h, s)), below(pathTree(routes)))
	case isLong && differs(h, s):
		host.Matcher = byScheme(below(pathTree(routesOf(h, overHTTP(s)))), below(pathTree(routes)))
	case isLong:
		host.Matcher = pathTree(routes)
	case redirectsAll(h, s):
		host.Routes = append(redirectedAll(h, s), routes[len(challenges(h)):]...)
	case differs(h, s):
		host.Routes = routesOf(h, overBoth(s))
	default:
		host.Routes = routes
	}
	return marshal(host)
}

// rendering makes Envoy's routes of a model route, for requests that match.
type rendering func(route.Route, *routev3.RouteMatch) []*routev3.Route

// routesOf are the routes of a host in the order in which Envoy tries them. The
// last one takes all paths.
func routesOf(h *route.Host, render rendering) []*routev3.Route {
	var routes []*routev3.Route
	for _, r := range h.Routes {
		match := pathMatch(r.Match)
		if match == nil {
			continue
		}
		routes = append(routes, render(r, match)...)
		if match.GetPrefix() == "/" {
			return routes
		}
	}
	return append(routes, notFound())
}

func routeOf(r route.Route, match *routev3.RouteMatch) *routev3.Route {
	out := &routev3.Route{Name: routeName(r), Match: match, Metadata: slashesMetadata(r, nil)}
	if r.Cluster != nil {
		action := &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: ClusterName(*r.Cluster)},
			Timeout:          durationpb.New(0),
		}
		out.Action = &routev3.Route_Route{Route: action}
		filters := make(map[string]*anypb.Any)
		if r.MaxBody > 0 {
			filters[bodyLimitFilter] = bodyLimitPerRoute(r.MaxBody)
		}
		if r.Cluster.PerClient {
			filters[connectionsFilter] = connectionsPerRoute()
			action.HashPolicy = byConnection()
		}
		if len(filters) > 0 {
			out.TypedPerFilterConfig = filters
		}
		return out
	}
	out.Action = directResponse(r.Status, r.Body)
	if r.Reason != "" {
		out.Metadata = slashesMetadata(r, reasonMetadata(r.Reason))
	}
	return out
}

func routeName(r route.Route) string {
	if r.Origin.Name == "" {
		return noRoute
	}
	return strings.ToValidUTF8(r.Origin.String(), "%")
}

func notFound() *routev3.Route {
	return &routev3.Route{
		Name:   noRoute,
		Match:  anyPath(),
		Action: directResponse(http.StatusNotFound, ""),
	}
}

func anyPath() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}}
}

// pathMatch is nil for a path that no request can have.
func pathMatch(m route.Match) *routev3.RouteMatch {
	path, ok := requestPath(m.Path)
	switch {
	case !ok:
		return nil
	case m.Kind == route.Exact:
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}}
	}
	path = strings.TrimRight(path, "/")
	if path == "" {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	}
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: path}}
}

// requestPath is path in the normalised spelling of a request: octets beyond
// ASCII are escaped. It reports false if path does not start with a slash or
// contains "?" or "#", which end the path of a request.
func requestPath(path string) (string, bool) {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
		return "", false
	}
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f {
			const hex = "0123456789ABCDEF"
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

func reasonMetadata(reason string) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		metadataNamespace: {Fields: map[string]*structpb.Value{
			"reason": structpb.NewStringValue(strings.ToValidUTF8(reason, "%")),
		}},
	}}
}
