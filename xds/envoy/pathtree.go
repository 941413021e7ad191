package envoy

import (
	"cmp"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// listedRoutes is how many routes are tried one after the other. A host with
// more of them gets a tree, whose leaves are lists of about so many.
const listedRoutes = 16

// pathTree is a tree over the paths of routes, the last of which takes what no
// other does. Each of its keys leads to a short list: of the routes, in their
// order, that can match a path which begins with that key and with no longer
// one. It therefore chooses what trying all of them in order would choose.
//
// The tree is asked for the path with its query. No key holds a "?", so that a
// key with which that begins is one with which the path begins.
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

// pathLists are the lists of a tree while it grows, by key.
type pathLists struct {
	routes []*routev3.Route
	lists  map[string]*matcherv3.Matcher_OnMatch
}

// leaf is a route in the tree.
type leaf struct {
	path  string
	below bool // whether it matches all segments below path, too
	place int  // in the order of the routes
}

func leafOf(r *routev3.Route, place int) leaf {
	if path := r.GetMatch().GetPathSeparatedPrefix(); path != "" {
		return leaf{path, true, place}
	}
	return leaf{r.GetMatch().GetPath(), false, place}
}

// grow makes the lists of leaves, which are sorted by path, under what their
// paths have in common. The route at the place end matches all that begins so,
// so that none behind it is ever tried.
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

// endOf is the place of the first route that matches all that begins as the
// paths of a branch do: a whole segment above it ends at key, or what took all
// before.
func endOf(branch, here []leaf, key string, end int) int {
	for _, l := range here {
		if l.below && l.path == key && branch[0].path[len(key)] == '/' {
			end = min(end, l.place)
		}
	}
	return end
}

// split parts leaves, whose paths have their first n bytes in common, by their
// next byte. Small branches stay here, as many as a list has room for.
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

// list is the routes of leaves in their order, up to the one that takes all.
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

// routeList is what a matcher leads to: routes that are tried in order.
func routeList(routes []*routev3.Route) *matcherv3.Matcher_OnMatch {
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
		Action: &xdscorev3.TypedExtensionConfig{Name: "routes", TypedConfig: typed(&routev3.RouteList{Routes: routes})},
	}}
}

// inCommon is what two strings begin with.
func inCommon(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}
