package ingress

import (
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/xds/route"
)

// breaking returns the matches of after whose requests are newly answered 503
// because a Service or a port is missing: before forwarded some of them. A route
// that answered 503 already is left out. The missing Service was found out when
// that began, and an event tells when the Service exists.
func breaking(before, after *route.Host) map[route.Match]bool {
	if before == nil || after == nil {
		return nil
	}
	was, is := byMatch(before), byMatch(after)
	all := before.Passthrough != nil && after.Passthrough == nil
	broken := map[route.Match]bool{}
	for match, r := range is {
		if misses(r) && (all || forwards(was[covering(was, match)])) {
			broken[match] = true
		}
	}
	// A wider route takes the requests of a narrower one that has gone.
	for match, r := range was {
		if _, stays := is[match]; stays || !forwards(r) {
			continue
		}
		if wider := covering(is, match); misses(is[wider]) {
			broken[wider] = true
		}
	}
	return broken
}

func missesBackend(host *route.Host) bool {
	return host != nil && slices.ContainsFunc(host.Routes, func(r route.Route) bool { return misses(&r) })
}

func byMatch(host *route.Host) map[route.Match]*route.Route {
	routes := make(map[route.Match]*route.Route, len(host.Routes))
	for i := range host.Routes {
		routes[host.Routes[i].Match] = &host.Routes[i]
	}
	return routes
}

func forwards(r *route.Route) bool { return r != nil && r.Cluster != nil }

func misses(r *route.Route) bool {
	return r != nil && r.Cluster == nil && r.Reason == string(route.ReasonBackendNotFound)
}

// covering returns the match of the narrowest route that takes all requests of
// match; zero if there is none.
func covering(routes map[route.Match]*route.Route, match route.Match) route.Match {
	if _, ok := routes[match]; ok {
		return match
	}
	for path := match.Path; ; path = parentOf(path) {
		wider := route.Match{Kind: route.Prefix, Path: path}
		if _, ok := routes[wider]; ok {
			return wider
		}
		if path == "/" {
			return route.Match{}
		}
	}
}

// parentOf returns the next wider Prefix: "/a/b" for "/a/b/", "/a" for "/a/b", "/"
// for "/a".
func parentOf(path string) string {
	return path[:max(strings.LastIndexByte(path, '/'), 1)]
}
