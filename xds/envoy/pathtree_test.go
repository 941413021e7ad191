package envoy_test

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the property tests; 0: a new one each run")

// forSeeds runs a property with n random sources and prints the seed of one
// that breaks it.
func forSeeds(t *testing.T, n int, property func(t *testing.T, random *rand.Rand)) {
	t.Helper()
	first := *seedFlag
	if first != 0 {
		n = 1
	} else {
		first = uint64(time.Now().UnixNano())
	}
	for i := range n {
		seed := first + uint64(i)
		property(t, rand.New(rand.NewPCG(seed, 0)))
		if t.Failed() {
			t.Fatalf("again with -seed=%d", seed)
		}
	}
}

func virtualHost(t testing.TB, h *route.Host) *routev3.VirtualHost {
	t.Helper()
	host := &routev3.VirtualHost{}
	if err := proto.Unmarshal(envoy.VirtualHost(h, route.Settings{}), host); err != nil {
		t.Fatal(err)
	}
	return host
}

// listOf is the list that the tree of a host has for a path; without a tree it
// is all routes.
func listOf(t testing.TB, host *routev3.VirtualHost, path string) []*routev3.Route {
	t.Helper()
	if host.GetMatcher() == nil {
		return host.GetRoutes()
	}
	found, longest := host.GetMatcher().GetOnNoMatch(), -1
	for key, match := range host.GetMatcher().GetMatcherTree().GetPrefixMatchMap().GetMap() {
		if strings.HasPrefix(path, key) && len(key) > longest {
			found, longest = match, len(key)
		}
	}
	return routesIn(t, found)
}

func routesIn(t testing.TB, match *matcherv3.Matcher_OnMatch) []*routev3.Route {
	t.Helper()
	list := &routev3.RouteList{}
	if err := match.GetAction().GetTypedConfig().UnmarshalTo(list); err != nil {
		t.Fatal(err)
	}
	return list.GetRoutes()
}

// firstOf is the name of the first route that matches, as Envoy tries them.
func firstOf(routes []*routev3.Route, target string) string {
	path, _, _ := strings.Cut(target, "?")
	for _, r := range routes {
		match := r.GetMatch()
		exact, segments, prefix := match.GetPath(), match.GetPathSeparatedPrefix(), match.GetPrefix()
		switch {
		case exact != "" && path != exact:
		case segments != "" && path != segments && !strings.HasPrefix(path, segments+"/"):
		case !strings.HasPrefix(path, prefix):
		default:
			return r.GetName()
		}
	}
	return "none"
}

// manyPaths is a host with up to 400 routes, each of an Ingress and with a
// status of its own, in the order in which Build puts them.
func manyPaths(random *rand.Rand) *route.Host {
	segments := []string{"a", "b", "ab", "abc", "a-1", "é", "%2C", "x.y", "a;b", strings.Repeat("long", 20)}
	taken := map[route.Match]bool{}
	for range random.IntN(400) {
		match := route.Match{Kind: route.PathKind(random.IntN(2))}
		for range random.IntN(6) {
			match.Path += "/" + segments[random.IntN(len(segments))]
		}
		if match.Path == "" || match.Kind == route.Exact && random.IntN(4) == 0 {
			match.Path += "/"
		}
		taken[match] = true
	}
	if random.IntN(4) == 0 {
		chain := ""
		for range random.IntN(100) {
			chain += "/" + segments[random.IntN(2)]
			taken[route.Match{Path: chain}] = true
		}
	}
	var routes []route.Route
	for match := range taken {
		routes = append(routes, route.Route{Match: match})
	}
	inBuildsOrder(routes)
	h := host("shop.test", routes...)
	for i := range h.Routes {
		h.Routes[i].Origin.Name = fmt.Sprint("r", i)
		h.Routes[i].Status = 405 + i%190 // that have a body, and are not 404
	}
	return h
}

func inBuildsOrder(routes []route.Route) {
	slices.SortFunc(routes, func(a, b route.Route) int {
		if n := len(b.Match.Path) - len(a.Match.Path); n != 0 {
			return n
		}
		if n := int(b.Match.Kind) - int(a.Match.Kind); n != 0 {
			return n
		}
		return strings.Compare(a.Match.Path, b.Match.Path)
	})
}

// askFor is a path near one of the routes.
func askFor(random *rand.Rand, h *route.Host) string {
	path := "/"
	if len(h.Routes) > 0 {
		path = h.Routes[random.IntN(len(h.Routes))].Match.Path
	}
	path = strings.ReplaceAll(path, "é", "%C3%A9")
	switch random.IntN(8) {
	case 0:
		path = strings.TrimSuffix(path, "/") + "/"
	case 1:
		path = strings.TrimSuffix(path, "/") + "/a"
	case 2:
		path += "b"
	case 3:
		path = path[:1+random.IntN(len(path))]
		if escape := strings.LastIndexByte(path, '%'); escape >= 0 && escape > len(path)-3 {
			path = path[:escape]
		}
	case 4:
		path = strings.TrimSuffix(path, "/") + "/a/b/ab/zz"
	}
	return path + []string{"", "", "?", "?x=/a/b", "?/a?b"}[random.IntN(5)]
}

// everyRoute is the same host without a tree: in one list, as they are tried.
func everyRoute(t testing.TB, h *route.Host) []*routev3.Route {
	t.Helper()
	var all []*routev3.Route
	for _, r := range h.Routes {
		one := *h
		one.Routes = []route.Route{r}
		all = append(all, virtualHost(t, &one).GetRoutes()[0])
	}
	none := *h
	none.Routes = nil
	return append(all, virtualHost(t, &none).GetRoutes()...)
}

func TestATreeChoosesWhatTheOrderChooses(t *testing.T) {
	forSeeds(t, 300, func(t *testing.T, random *rand.Rand) {
		h := manyPaths(random)
		if random.IntN(4) == 0 { // not only in the order in which Build puts them
			random.Shuffle(len(h.Routes), func(i, j int) { h.Routes[i], h.Routes[j] = h.Routes[j], h.Routes[i] })
		}
		host, all := virtualHost(t, h), everyRoute(t, h)
		for range 100 {
			path := askFor(random, h)
			if want, got := firstOf(all, path), firstOf(listOf(t, host, path), path); got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
	})
}

// A tree may hold a route more than once, but is never much larger than what it
// is made of, and its lists are short.
func TestATreeIsSmall(t *testing.T) {
	chain := &route.Host{Key: host("shop.test").Key}
	for n := range 1000 {
		chain.Routes = append(chain.Routes, route.Route{Match: route.Match{Path: strings.Repeat("/a", 1000-n)}, Status: 200})
	}
	check := func(t *testing.T, h *route.Host) {
		tree, held := virtualHost(t, h).GetMatcher(), 0
		for key, match := range tree.GetMatcherTree().GetPrefixMatchMap().GetMap() {
			list := routesIn(t, match)
			if len(list) > 17 {
				t.Errorf("%d routes under %q", len(list), key)
			}
			held += len(list)
		}
		if most := 2*len(h.Routes) + 1; held > most {
			t.Errorf("%d routes are held %d times, more than %d", len(h.Routes), held, most)
		}
	}
	check(t, chain)
	forSeeds(t, 100, func(t *testing.T, random *rand.Rand) { check(t, manyPaths(random)) })
}

func TestEqualHostsHaveEqualTrees(t *testing.T) {
	forSeeds(t, 50, func(t *testing.T, random *rand.Rand) {
		h := manyPaths(random)
		if diff := cmp.Diff(envoy.VirtualHost(h, route.Settings{}), envoy.VirtualHost(h, route.Settings{})); diff != "" {
			t.Error("two renderings differ")
		}
	})
}

// TestEnvoyTakesATreeAsTheOrder asks a real Envoy: found by full name, by
// wildcard and as the default host.
func TestEnvoyTakesATreeAsTheOrder(t *testing.T) {
	g := newGateway(t, testSettings(t))
	for i, name := range []string{"shop.test", "*.shop.test", "*"} {
		request := []string{"shop.test", "a.shop.test", "other.example"}[i]
		forSeeds(t, 4, func(t *testing.T, random *rand.Rand) {
			h := manyPaths(random)
			h.Key.Host = route.Hostname(name)
			mark := 405 + random.IntN(190)
			h.Routes = append(h.Routes, route.Route{
				Match:  route.Match{Kind: route.Exact, Path: "/mark"},
				Origin: types.NamespacedName{Namespace: "shop", Name: "mark"},
				Status: mark,
			})
			inBuildsOrder(h.Routes)
			g.serve(h)
			g.eventually("the host is served", func() error { return want(g.get(request, "/mark"), mark) })
			all := everyRoute(t, h)
			var paths []string
			for range 300 {
				paths = append(paths, askFor(random, h))
			}
			paths = append(paths, "*", "/", "//a", "/a/../b?c")
			for at, status := range g.statuses(request, paths) {
				if want := statusOf(h, firstOf(all, normal(paths[at]))); status != want {
					t.Errorf("%s: %d, want %d", paths[at], status, want)
				}
			}
		})
	}
}

// normal is a path of this test as Envoy normalises it.
func normal(path string) string {
	return strings.NewReplacer("//", "/", "/a/../", "/").Replace(path)
}

func statusOf(h *route.Host, name string) int {
	for _, r := range h.Routes {
		if r.Origin.String() == name {
			return r.Status
		}
	}
	return http.StatusNotFound
}

// statuses are the answers to requests for the paths, over one connection.
func (g *gateway) statuses(host string, paths []string) []int {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	from := bufio.NewReader(conn)
	var statuses []int
	for _, path := range paths {
		method := http.MethodGet
		if path == "*" {
			method = http.MethodOptions
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, path, host)
		reply, err := readReply(from, http.MethodGet)
		if err != nil {
			g.t.Fatalf("%s: %v", path, err)
		}
		statuses = append(statuses, reply.StatusCode)
	}
	return statuses
}
