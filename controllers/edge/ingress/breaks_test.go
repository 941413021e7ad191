package ingress

import (
	"math/rand/v2"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/xds/route"
)

// hostOf is a host of routes: "/a ok" forwards, "=/a 503" misses its Service, and
// "/a no" answers something else.
func hostOf(routes ...string) *route.Host {
	host := &route.Host{}
	for _, text := range routes {
		path, what, _ := strings.Cut(text, " ")
		r := route.Route{Match: matchOf(path)}
		switch what {
		case "ok":
			r.Cluster = &route.Cluster{}
		case "503":
			r.Status, r.Reason = 503, string(route.ReasonBackendNotFound)
		default:
			r.Status = 404
		}
		host.Routes = append(host.Routes, r)
	}
	return host
}

func matchOf(path string) route.Match {
	if exact, ok := strings.CutPrefix(path, "="); ok {
		return route.Match{Kind: route.Exact, Path: exact}
	}
	return route.Match{Kind: route.Prefix, Path: path}
}

func TestOnlyARouteThatWorksBreaks(t *testing.T) {
	passed, missed := hostOf("/ 503"), hostOf("/ 503")
	passed.Passthrough = &route.Cluster{}
	for _, test := range []struct {
		name          string
		before, after *route.Host
		want          []string
	}{
		{name: "a route that worked", before: hostOf("/ ok"), after: hostOf("/ 503"), want: []string{"/"}},
		{name: "nothing is served", after: hostOf("/ 503")},
		{name: "nothing is to be served", before: hostOf("/ ok")},
		{name: "it was 503 before", before: hostOf("/ 503", "/a ok"), after: hostOf("/ 503", "/a ok")},
		{name: "it was answered by us before", before: hostOf("/ no"), after: hostOf("/ 503")},
		{name: "it was 404 before", before: hostOf("/a ok"), after: hostOf("/b 503", "/a ok")},
		{name: "a new path below one that works", before: hostOf("/ ok"), after: hostOf("/ ok", "/a/b 503"), want: []string{"/a/b"}},
		{name: "a new path below one that does not", before: hostOf("/ ok", "/a 503"), after: hostOf("/ ok", "/a 503", "/a/b 503")},
		{name: "a new exact path below one that works", before: hostOf("/a ok"), after: hostOf("=/a/ 503", "/a ok"), want: []string{"=/a/"}},
		{name: "an exact path is not below another prefix", before: hostOf("/ab ok"), after: hostOf("=/a 503")},
		{name: "what narrower routes served comes to a wider one", before: hostOf("/ 503", "/a/b ok"), after: hostOf("/ 503"), want: []string{"/"}},
		{name: "to the next one only", before: hostOf("/ 503", "/a/b ok"), after: hostOf("/ 503", "/a ok")},
		{name: "an exact path comes to a prefix", before: hostOf("=/a ok"), after: hostOf("/a 503"), want: []string{"/a"}},
		{name: "connections were passed through", before: passed, after: missed, want: []string{"/"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := map[route.Match]bool{}
			for _, path := range test.want {
				want[matchOf(path)] = true
			}
			got := breaking(test.before, test.after)
			if got == nil {
				got = map[route.Match]bool{}
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("breaking (-want +got):\n%s", diff)
			}
		})
	}
}

// For any routes: if a request was forwarded and is now answered 503 for want of a
// Service, breaking has the route that answers it.
func TestEveryRouteThatBreaksIsFound(t *testing.T) {
	paths := []string{"/", "/a", "=/a", "=/a/", "/a/b", "=/a/b", "/a/b/c", "/ab", "=/ab"}
	requests := []string{"/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/x", "/ab", "/abc", "/x"}
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 4))
		some := func() *route.Host {
			var routes []string
			for _, path := range paths {
				if random.IntN(2) == 0 {
					routes = append(routes, path+[]string{" ok", " 503", " no"}[random.IntN(3)])
				}
			}
			return hostOf(routes...)
		}
		before, after := some(), some()
		broken := breaking(before, after)
		for _, request := range requests {
			was, is := answering(before, request), answering(after, request)
			if forwards(was) && misses(is) && !broken[is.Match] {
				t.Fatalf("seed %d: %s breaks at %v, which is not among %v", seed, request, is.Match, broken)
			}
		}
	}
}

// answering returns the route that answers a request, as the Ingress API says.
func answering(host *route.Host, path string) (best *route.Route) {
	for i := range host.Routes {
		r := &host.Routes[i]
		matches := r.Match.Path == path
		if r.Match.Kind == route.Prefix {
			matches = matches || r.Match.Path == "/" || strings.HasPrefix(path, r.Match.Path+"/")
		}
		narrower := best == nil || len(r.Match.Path) > len(best.Match.Path) ||
			len(r.Match.Path) == len(best.Match.Path) && r.Match.Kind == route.Exact
		if matches && narrower {
			best = r
		}
	}
	return best
}
