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

// refusalsFilter answers 403, or 400 where badTarget says so, to requests that Envoy
// would pass on and that mean something else to some backends.
const refusalsFilter = "fairway.refusals"

// legalTarget is what path and query may consist of: the octets of which URLs are
// made (RFC 3986), and the others between them, which clients send all the same.
// Over HTTP/1.1 Envoy itself refuses everything else. Over HTTP/2 and HTTP/3 it
// passes on octets beyond ASCII in a query; in a path it has escaped them before
// any filter sees it.
const legalTarget = "[!-~]*"

// refusedMethods are those of which one sends back what a script in a browser must
// not see, and the other makes a tunnel; and what careless backends take for them.
const refusedMethods = "(?i)trace|connect"

// refusals looks closely at what is suspicious only. The filter for access
// rules writes what it found into the metadata of each request that it sees,
// which takes more time than all of its rules.
func refusals() *compositev3.Composite {
	return &compositev3.Composite{Matcher: when(suspicious(), execute("refuse", refused()))}
}

// suspicious holds for all requests that are refused, and for few others.
func suspicious() *matcherv3.Matcher_MatcherList_Predicate {
	return anyOf(
		inHeader(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "/."}}),
		// The normal form of a path holds nothing else.
		both(
			inHeader(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "?"}}),
			not(inHeader(":path", matching(legalTarget))),
		),
		inHeader(":method", matching(refusedMethods)),
		inHeader("upgrade", matching(anythingBut(webSocket))),
		// Of 18 digits all are lengths; whatever else is there is looked at.
		both(isThere("content-length"), not(inHeader("content-length", matching(`[0-9]{1,18}`)))),
	)
}

func refused() *rbacv3.RBAC {
	return &rbacv3.RBAC{Rules: &rbacconfigv3.RBAC{
		Action: rbacconfigv3.RBAC_DENY,
		Policies: map[string]*rbacconfigv3.Policy{
			// The dot segments that normalisation leaves in a path: of
			// "/x/%2e%2e;/admin" it makes "/x/..;/admin", in which backends that take
			// what follows the semicolon for a parameter find "/admin".
			"dot-segments": refuse(
				pathContains("/.;", false), pathContains("/..;", false), pathContains("/.%3b", true), pathContains("/..%3b", true),
			),
			// A length that a signed number cannot hold is below zero to a careless backend.
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
			// Envoy looks at it only where the route is known before the filters run.
			// (Over HTTP/1.1 it is WebSocket by now; a CONNECT over HTTP/2 may ask for
			// any protocol.)
			"upgrade": refuse(headerMatches("upgrade", &routev3.HeaderMatcher{HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
				StringMatch: regexMatch(anythingBut(webSocket)),
			}})),
		},
	}}
}

// illegalTarget holds for requests whose target no URL is.
func illegalTarget() *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name:                 ":path",
		InvertMatch:          true,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: regexMatch(legalTarget)},
	}
}

// refuse is a policy for requests of anybody that have one of the properties.
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

// pathContains looks for a part in the path without its query. Without regard to
// case it makes a copy of the path.
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
