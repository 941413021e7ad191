package envoy

import (
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// schemeHeader holds the scheme of the client's request, either to the gateway or
// to a trusted proxy in front of it. Unlike ":scheme", Envoy writes this header
// itself, so that clients cannot forge it.
const schemeHeader = "x-forwarded-proto"

// SameHosts reports whether both settings render virtual hosts alike.
func SameHosts(a, b route.Settings) bool {
	return (a.HTTPSPort == 0) == (b.HTTPSPort == 0) && a.PublicHTTPS() == b.PublicHTTPS() &&
		(a.MaxRequestBody <= 0) == (b.MaxRequestBody <= 0) && sameHSTS(a, b)
}

// redirects reports whether some requests over HTTP are redirected.
func redirects(h *route.Host, s route.Settings) bool {
	return s.HTTPSPort != 0 && slices.ContainsFunc(h.Routes, func(r route.Route) bool { return r.Redirect })
}

// differs reports whether requests over HTTP and HTTPS may get different answers.
func differs(h *route.Host, s route.Settings) bool {
	return redirects(h, s) || slices.ContainsFunc(h.Routes, func(r route.Route) bool { return hsts(r, s) != nil })
}

// toHTTPS redirects a client to the same URL over HTTPS. The status is 308, so
// that the client repeats its request unchanged, body included. Envoy's
// require_tls would answer 301, which turns a POST into a GET.
func toHTTPS(port uint16) *routev3.Route_Redirect {
	return &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
		SchemeRewriteSpecifier: &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true},
		PortRedirect:           uint32(port),
		ResponseCode:           routev3.RedirectAction_PERMANENT_REDIRECT,
	}}
}

// redirectsAll reports whether all requests over HTTP are redirected. Challenges
// are the exception: the gateway answers them over HTTP.
func redirectsAll(h *route.Host, s route.Settings) bool {
	return redirects(h, s) && !slices.ContainsFunc(h.Routes, func(r route.Route) bool { return !r.Redirect && !r.IsChallenge() })
}

// redirectedAll are the HTTP routes of a host that redirects all requests. They
// include the answers to challenges, which also apply over HTTPS.
func redirectedAll(h *route.Host, s route.Settings) []*routev3.Route {
	first := slices.IndexFunc(h.Routes, func(r route.Route) bool { return r.Redirect })
	return append(challenges(h), redirected(h.Routes[first], anyPath(), s)...)
}

// challenges are the routes that answer certificate authorities. They come first.
func challenges(h *route.Host) []*routev3.Route {
	var routes []*routev3.Route
	for _, r := range h.Routes {
		if !r.IsChallenge() {
			break
		}
		if match := pathMatch(r.Match); match != nil {
			routes = append(routes, routeOf(r, match))
		}
	}
	return routes
}

// overHTTP renders routes for requests that came over HTTP.
func overHTTP(s route.Settings) rendering {
	return func(r route.Route, match *routev3.RouteMatch) []*routev3.Route {
		if !r.Redirect || s.HTTPSPort == 0 {
			return []*routev3.Route{routeOf(r, match)}
		}
		return []*routev3.Route{{
			Name: routeName(r), Match: match, Action: toHTTPS(s.PublicHTTPS()), Metadata: slashesMetadata(r, nil),
		}}
	}
}

// overHTTPS renders routes for requests that came over HTTPS.
func overHTTPS(s route.Settings) rendering {
	return func(r route.Route, match *routev3.RouteMatch) []*routev3.Route {
		return []*routev3.Route{secureRouteOf(r, match, s)}
	}
}

// overBoth renders routes for requests that came over HTTP or HTTPS.
func overBoth(s route.Settings) rendering {
	return func(r route.Route, match *routev3.RouteMatch) []*routev3.Route {
		switch {
		case r.Redirect && s.HTTPSPort != 0:
			return append(redirected(r, match, s), secureRouteOf(r, match, s))
		case hsts(r, s) != nil:
			return []*routev3.Route{
				secureRouteOf(r, &routev3.RouteMatch{PathSpecifier: match.GetPathSpecifier(), Headers: []*routev3.HeaderMatcher{cameBy("https")}}, s),
				routeOf(r, match),
			}
		default:
			return []*routev3.Route{routeOf(r, match)}
		}
	}
}

// redirected are the routes for those requests of match that came over HTTP. If
// the client named a port, that is the HTTP port, and the redirect must replace
// it. If the client named none, the redirect names none.
func redirected(r route.Route, match *routev3.RouteMatch, s route.Settings) []*routev3.Route {
	redirect := func(port uint16, conditions ...*routev3.HeaderMatcher) *routev3.Route {
		return &routev3.Route{
			Name:     routeName(r),
			Action:   toHTTPS(port),
			Metadata: slashesMetadata(r, nil),
			Match:    &routev3.RouteMatch{PathSpecifier: match.GetPathSpecifier(), Headers: conditions},
		}
	}
	byHTTP := cameBy("http")
	port := s.PublicHTTPS()
	if port != https {
		return []*routev3.Route{redirect(port, byHTTP)}
	}
	withPort := headerIs(":authority", &typematcherv3.StringMatcher{
		MatchPattern: &typematcherv3.StringMatcher_SafeRegex{SafeRegex: &typematcherv3.RegexMatcher{Regex: ".*:[0-9]+"}},
	})
	return []*routev3.Route{redirect(https, byHTTP, withPort), redirect(0, byHTTP)}
}

// cameBy is the condition that a request came by a given scheme.
func cameBy(scheme string) *routev3.HeaderMatcher {
	return headerIs(schemeHeader, &typematcherv3.StringMatcher{
		MatchPattern: &typematcherv3.StringMatcher_Exact{Exact: scheme},
	})
}

func headerIs(name string, value *typematcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value}}
}

// https is the default port, which a URL need not name.
const https = 443

// byScheme chooses between two matchers by the scheme of the request.
func byScheme(http, others *matcherv3.Matcher_OnMatch) *matcherv3.Matcher {
	return byHeader(schemeHeader, "http", http, others)
}

// byHeader chooses between two matchers by whether a request header has the
// value.
func byHeader(name, value string, match, others *matcherv3.Matcher_OnMatch) *matcherv3.Matcher {
	matcher := when(inHeader(name, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}), match)
	matcher.OnNoMatch = others
	return matcher
}

// predicate compares an input with a value.
func predicate(input *xdscorev3.TypedExtensionConfig, value *matcherv3.StringMatcher) *matcherv3.Matcher_MatcherList_Predicate {
	return &matcherv3.Matcher_MatcherList_Predicate{
		MatchType: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
			SinglePredicate: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
				Input:   input,
				Matcher: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: value},
			},
		},
	}
}

// below nests a matcher in another one.
func below(matcher *matcherv3.Matcher) *matcherv3.Matcher_OnMatch {
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Matcher{Matcher: matcher}}
}
