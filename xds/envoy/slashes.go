package envoy

import (
	_ "embed"
	"net/http"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// slashesFilter chooses the route of a path with repeated slashes by the path
// without them. Filters that read the route or its configuration must come after
// it. (Envoy's own merge_slashes applies to a whole listener, and loses the
// original path.)
const slashesFilter = "fairway.slashes"

// slashesField is the metadata field of a route, under the filter's name, that
// says how to treat repeated slashes.
const slashesField = "repeatedSlashes"

// slashesScript merges repeated slashes unless the route says otherwise. With
// slashesKept in front, it keeps them unless the route says otherwise.
//
//go:embed slashes.lua
var slashesScript string

//go:embed slashes-keep.lua
var slashesKept string

// slashes runs its script only for the few requests that have repeated slashes in
// their path. Other requests cost one look at the path.
func slashes(s route.Settings) *compositev3.Composite {
	script := lua(slashesScript)
	if s.RepeatedSlashes == route.RepeatedSlashesKeep {
		script = lua(slashesKept + slashesScript)
	}
	// The script clears the cache itself, and the filter must not clear it again.
	script.ClearRouteCache = wrapperspb.Bool(false)
	repeated := both(
		inHeader(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "//"}}),
		inHeader(":path", matching(`[^?]*//\C*`)),
	)
	return &compositev3.Composite{Matcher: when(repeated, execute(slashesFilter, script))}
}

// slashesMetadata adds the Ingress's choice to the metadata of a route.
func slashesMetadata(r route.Route, to *corev3.Metadata) *corev3.Metadata {
	if r.RepeatedSlashes == "" {
		return to
	}
	if to == nil {
		to = &corev3.Metadata{FilterMetadata: make(map[string]*structpb.Struct)}
	}
	choice := r.RepeatedSlashes
	if choice != route.RepeatedSlashesKeep {
		choice = route.RepeatedSlashesMerge
	}
	to.FilterMetadata[slashesFilter] = &structpb.Struct{Fields: map[string]*structpb.Value{
		slashesField: structpb.NewStringValue(string(choice)),
	}}
	return to
}

// toPath keeps a redirect on this host when Envoy unescapes slashes in a path.
// The Location "//evil.test" would lead to another host; "/.//evil.test" is the
// path //evil.test of this one.
func toPath() *managerv3.ResponseMapper {
	location := header("location", "/.%REQ(:PATH)%")
	return &managerv3.ResponseMapper{
		Filter: allOfThem(statusIs(http.StatusTemporaryRedirect), requestHas(&routev3.HeaderMatcher{
			Name: ":path", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
				StringMatch: &typematcherv3.StringMatcher{MatchPattern: &typematcherv3.StringMatcher_Prefix{Prefix: "//"}},
			},
		})),
		HeadersToAdd: []*corev3.HeaderValueOption{location},
	}
}
