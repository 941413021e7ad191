package envoy

import (
	"math"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// refusalsFilter answers 403, or 400 in the cases of badTarget. It refuses
// requests that Envoy would pass on but that some backends interpret differently.
const refusalsFilter = "fairway.refusals"

// legalTarget matches the octets that path and query may hold: those of URLs (RFC
// 3986), and the other printable ASCII octets, which clients send all the same.
// Over HTTP/1.1 Envoy itself refuses everything else. Over HTTP/2 and HTTP/3
// Envoy passes on octets beyond ASCII in a query; in a path it escapes them
// before any filter runs.
const legalTarget = "[!-~]*"

// refusedMethods are TRACE, which sends back headers that scripts in a browser
// must not see, and CONNECT, which makes a tunnel. The expression also matches
// spellings that careless backends accept.
const refusedMethods = "(?i)trace|connect"

// refusals runs the RBAC filter only for suspicious requests. That filter writes
// metadata for each request that it sees, which takes longer than all of its
// rules.
func refusals() *compositev3.Composite {
	return &compositev3.Composite{Matcher: when(suspicious(), execute("refuse", refused()))}
}

// suspicious holds for all requests that the filter refuses, and for few others.
func suspicious() *matcherv3.Matcher_MatcherList_Predicate {
	return anyOf(
		inHeader(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "/."}}),
		// A normalised path holds no other octets, so only a query can.
		both(
			inHeader(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "?"}}),
			not(inHeader(":path", matching(legalTarget))),
		),
		inHeader(":method", matching(refusedMethods)),
		inHeader("upgrade", matching(anythingBut(webSocket))),
		// A number of up to 18 digits always fits; the filter checks all other
		// values.
		both(isThere("content-length"), not(inHeader("content-length", matching(`[0-9]{1,18}`)))),
	)
}

func refused() *rbacv3.RBAC {
	return &rbacv3.RBAC{Rules: &rbacconfigv3.RBAC{
		Action: rbacconfigv3.RBAC_DENY,
		Policies: map[string]*rbacconfigv3.Policy{
			// Normalisation can leave dot segments in a path: it turns
			// "/x/%2e%2e;/admin" into "/x/..;/admin". Backends that take the text
			// after the semicolon for a parameter read this as "/admin".
			"dot-segments": refuse(
				pathContains("/.;", false), pathContains("/..;", false), pathContains("/.%3b", true), pathContains("/..%3b", true),
			),
			// Careless backends read a length that overflows a signed number as
			// negative.
			"length": refuse(allOf(
				headerMatches("content-length", &routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}),
				headerMatches("content-length", &routev3.HeaderMatcher{
					InvertMatch:          true,
					HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{End: math.MaxInt64}},
				}),
			)),
			"method": refuse(headerMatches(":method", &routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
				StringMatch: regexMatch(refusedMethods),
			}})),
			"target": refuse(headerMatches(":path", illegalTarget())),
			// Envoy checks this header only if the route is known before the
			// filters run. (Over HTTP/1.1 it can only be WebSocket by now; a
			// CONNECT over HTTP/2 may name any protocol.)
			"upgrade": refuse(headerMatches("upgrade", &routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
				StringMatch: regexMatch(anythingBut(webSocket)),
			}})),
		},
	}}
}

// illegalTarget holds for requests whose target cannot be part of a URL.
func illegalTarget() *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name:                 ":path",
		InvertMatch:          true,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: regexMatch(legalTarget)},
	}
}

// refuse is a policy for all clients' requests that have one of the properties.
func refuse(properties ...*rbacconfigv3.Permission) *rbacconfigv3.Policy {
	return &rbacconfigv3.Policy{
		Permissions: properties,
		Principals:  []*rbacconfigv3.Principal{{Identifier: &rbacconfigv3.Principal_Any{Any: true}}},
	}
}

func allOf(all ...*rbacconfigv3.Permission) *rbacconfigv3.Permission {
	return &rbacconfigv3.Permission{Rule: &rbacconfigv3.Permission_AndRules{
		AndRules: &rbacconfigv3.Permission_Set{Rules: all},
	}}
}

func headerMatches(name string, matcher *routev3.HeaderMatcher) *rbacconfigv3.Permission {
	matcher.Name = name
	return &rbacconfigv3.Permission{Rule: &rbacconfigv3.Permission_Header{Header: matcher}}
}

// pathContains looks for a part in the path without its query. With anyCase Envoy
// copies the path.
func pathContains(part string, anyCase bool) *rbacconfigv3.Permission {
	return &rbacconfigv3.Permission{Rule: &rbacconfigv3.Permission_UrlPath{
		UrlPath: &typematcherv3.PathMatcher{Rule: &typematcherv3.PathMatcher_Path{
			Path: &typematcherv3.StringMatcher{
				IgnoreCase:   anyCase,
				MatchPattern: &typematcherv3.StringMatcher_Contains{Contains: part},
			},
		}},
	}}
}
