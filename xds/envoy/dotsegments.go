package envoy

import (
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// dotSegmentsFilter refuses the dot segments that normalisation leaves in a
// path: of "/x/%2e%2e;/admin" it makes "/x/..;/admin", in which backends that
// take what follows the semicolon for a parameter find "/admin".
const dotSegmentsFilter = "fairway.dot-segments"

func dotSegments() *rbacv3.RBAC {
	return &rbacv3.RBAC{Rules: &rbacconfigv3.RBAC{
		Action: rbacconfigv3.RBAC_DENY,
		Policies: map[string]*rbacconfigv3.Policy{
			"dot-segments": {
				Permissions: []*rbacconfigv3.Permission{pathContains("/.;"), pathContains("/..;")},
				Principals:  []*rbacconfigv3.Principal{{Identifier: &rbacconfigv3.Principal_Any{Any: true}}},
			},
		},
	}}
}

func pathContains(part string) *rbacconfigv3.Permission {
	return &rbacconfigv3.Permission{Rule: &rbacconfigv3.Permission_UrlPath{
		UrlPath: &typematcherv3.PathMatcher{Rule: &typematcherv3.PathMatcher_Path{
			Path: &typematcherv3.StringMatcher{
				MatchPattern: &typematcherv3.StringMatcher_Contains{Contains: part},
			},
		}},
	}}
}
