package envoy

import (
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// schemeHeader says how the client sent a request: to us, or to the proxy in
// front of us that is trusted to say so. Envoy writes it, so that a stranger's
// word does not count; that is why it is not ":scheme".
const schemeHeader = "x-forwarded-proto"

// SameHosts reports whether virtual hosts look the same under both settings.
func SameHosts(a, b route.Settings) bool {
	return (a.HTTPSPort == 0) == (b.HTTPSPort == 0) && a.PublicHTTPS() == b.PublicHTTPS() &&
		(a.MaxRequestBody <= 0) == (b.MaxRequestBody <= 0) && sameHSTS(a, b)
}

// redirects reports whether some requests over HTTP are redirected.
func redirects(h *route.Host, s route.Settings) bool {
	return s.HTTPSPort != 0 && slices.ContainsFunc(h.Routes, func(r route.Route) bool { return r.Redirect })
}

// differs reports whether requests over HTTP may be answered otherwise than
// those over HTTPS.
func differs(h *route.Host, s route.Settings) bool {
	return redirects(h, s) || slices.ContainsFunc(h.Routes, func(r route.Route) bool { return hsts(r, s) != nil })
}

// toHTTPS is the answer that sends a client to the same place over HTTPS. The
// client repeats its request as it was, body included (308). Envoy's require_tls
// would answer 301, with which a POST becomes a GET.
func toHTTPS(port uint16) *routev3.Route_Redirect {
	return &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
		SchemeRewriteSpecifier: &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true},
		PortRedirect:           uint32(port),
		ResponseCode:           routev3.RedirectAction_PERMANENT_REDIRECT,
	}}
}

// redirectsAll reports whether all requests over HTTP are redirected, but for
// challenges: those are answered where the authority asks.
func redirectsAll(h *route.Host, s route.Settings) bool {
	return redirects(h, s) && !slices.ContainsFunc(h.Routes, func(r route.Route) bool { return !r.Redirect && !r.IsChallenge() })
}

// redirectedAll are the routes of the requests over HTTP of a host that
// redirects all of them. The answers to challenges are among them, and take
// those over HTTPS as well.
func redirectedAll(h *route.Host, s route.Settings) []*routev3.Route {
	first := slices.IndexFunc(h.Routes, func(r route.Route) bool { return r.Redirect })
	return append(challenges(h), redirected(h.Routes[first], anyPath(), s)...)
}

// challenges are the routes that answer certificate authorities, which come
// first.
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

// overHTTP is the rendering for requests that are known to have come over HTTP.
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

// overHTTPS is the rendering for requests that are known to have come over HTTPS.
func overHTTPS(s route.Settings) rendering {
	return func(r route.Route, match *routev3.RouteMatch) []*routev3.Route {
		return []*routev3.Route{secureRouteOf(r, match, s)}
	}
}

// overBoth is the rendering for requests that came either way.
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

// redirected are the routes of those requests of match that came over HTTP. A
// port that the client named is that of HTTP and must not stay; where there is
// none, none is named to it.
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

// cameBy is the condition that a request came by a scheme.
func cameBy(scheme string) *routev3.HeaderMatcher {
	return headerIs(schemeHeader, &typematcherv3.StringMatcher{
		MatchPattern: &typematcherv3.StringMatcher_Exact{Exact: scheme},
	})
}

func headerIs(name string, value *typematcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value}}
}

// https is the port that need not be named.
const https = 443

// byScheme is a matcher that asks one of two others, by how a request came.
func byScheme(http, others *matcherv3.Matcher_OnMatch) *matcherv3.Matcher {
	return byHeader(schemeHeader, "http", http, others)
}

// byHeader is a matcher that asks one of two others, by whether a header of the
// request has that value.
func byHeader(name, value string, match, others *matcherv3.Matcher_OnMatch) *matcherv3.Matcher {
	matcher := when(inHeader(name, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}), match)
	matcher.OnNoMatch = others
	return matcher
}

// predicate compares an input.
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

// below is a matcher below another.
func below(matcher *matcherv3.Matcher) *matcherv3.Matcher_OnMatch {
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Matcher{Matcher: matcher}}
}
