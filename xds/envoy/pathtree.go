package envoy

import (
	"cmp"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// listedRoutes is how many routes Envoy tries one after the other. A host with
// more routes gets a tree, whose leaves are lists of about this length.
const listedRoutes = 16

// pathTree is a tree over the paths of routes. The last route takes all paths
// that no other matches. Each key of the tree leads to a short list. The list
// holds the routes, in order, that can match a path for which this is the longest
// key. So the tree chooses the same route as trying all of them in order.
//
// Envoy looks up the path with its query. Keys hold no "?", so that a key which
// is a prefix of the two is a prefix of the path.
func pathTree(routes []*routev3.Route) *matcherv3.Matcher {
	last := len(routes) - 1
	tree := pathLists{routes: routes, lists: make(map[string]*matcherv3.Matcher_OnMatch)}
	leaves := make([]leaf, 0, last)
	for i, r := range routes[:last] {
		leaves = append(leaves, leafOf(r, i))
	}
	slices.SortFunc(leaves, func(a, b leaf) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.place, b.place))
	})
	tree.grow(leaves, last)
	return &matcherv3.Matcher{
		MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input: &xdscorev3.TypedExtensionConfig{
				Name:        "path",
				TypedConfig: typed(&typematcherv3.HttpRequestHeaderMatchInput{HeaderName: ":path"}),
			},
			TreeType: &matcherv3.Matcher_MatcherTree_PrefixMatchMap{
				PrefixMatchMap: &matcherv3.Matcher_MatcherTree_MatchMap{Map: tree.lists},
			},
		}},
		OnNoMatch: tree.list(nil, last),
	}
}

// pathLists are the lists of a growing tree, by key.
type pathLists struct {
	routes []*routev3.Route
	lists  map[string]*matcherv3.Matcher_OnMatch
}

// leaf is a route in the tree.
type leaf struct {
	path  string
	below bool // also matches all segments below path
	place int  // position among the routes
}

func leafOf(r *routev3.Route, place int) leaf {
	if path := r.GetMatch().GetPathSeparatedPrefix(); path != "" {
		return leaf{path, true, place}
	}
	return leaf{r.GetMatch().GetPath(), false, place}
}

// grow adds the lists of leaves, which are sorted by path, under their common
// prefix. The route at end matches every path with this prefix, so that Envoy
// never tries a later route.
func (t pathLists) grow(leaves []leaf, end int) {
	if len(leaves) == 0 {
		return
	}
	key := inCommon(leaves[0].path, leaves[len(leaves)-1].path)
	here, branches := leaves, [][]leaf(nil)
	if len(leaves) > listedRoutes {
		here, branches = split(leaves, len(key))
	}
	t.lists[key] = t.list(here, end)
	for _, branch := range branches {
		t.grow(branch, endOf(branch, here, key, end))
	}
}

// endOf is the place of the first route that matches every path with the prefix
// of a branch. It is a route for all segments below key, or the end that was
// given.
func endOf(branch, here []leaf, key string, end int) int {
	for _, l := range here {
		if l.below && l.path == key && branch[0].path[len(key)] == '/' {
			end = min(end, l.place)
		}
	}
	return end
}

// split groups leaves, whose paths have their first n bytes in common, by their
// next byte. Small branches stay in the list here, as far as it has room.
func split(leaves []leaf, n int) (here []leaf, branches [][]leaf) {
	for len(leaves) > 0 && len(leaves[0].path) == n {
		here, leaves = append(here, leaves[0]), leaves[1:]
	}
	for len(leaves) > 0 {
		end := slices.IndexFunc(leaves, func(l leaf) bool { return l.path[n] != leaves[0].path[n] })
		if end < 0 {
			end = len(leaves)
		}
		branches, leaves = append(branches, leaves[:end]), leaves[end:]
	}
	slices.SortStableFunc(branches, func(a, b []leaf) int { return cmp.Compare(len(a), len(b)) })
	for len(branches) > 0 && len(here)+len(branches[0]) <= listedRoutes {
		here, branches = append(here, branches[0]...), branches[1:]
	}
	return here, branches
}

// list holds the routes of leaves in order, up to the one that matches every
// path.
func (t pathLists) list(leaves []leaf, end int) *matcherv3.Matcher_OnMatch {
	var places []int
	for _, l := range leaves {
		if l.place < end {
			places = append(places, l.place)
		}
	}
	slices.Sort(places)
	var routes []*routev3.Route
	for _, place := range append(places, end) {
		routes = append(routes, t.routes[place])
	}
	return routeList(routes)
}

// routeList is a matcher's action: Envoy tries the routes in order.
func routeList(routes []*routev3.Route) *matcherv3.Matcher_OnMatch {
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
		Action: &xdscorev3.TypedExtensionConfig{Name: "routes", TypedConfig: typed(&routev3.RouteList{Routes: routes})},
	}}
}

// inCommon is the common prefix of two strings.
func inCommon(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}
