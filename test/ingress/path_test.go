package ingress_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
)

// Which path of an Ingress answers a request, as the Ingress documentation's
// tables say and as docs/ingress.md says where they say nothing. Paths are
// written as for rule, requests are separated by spaces, and the answer is a
// path of the Ingress, or "404".
var paths = []struct{ paths, requests, answer string }{
	// The documentation's table.
	{"/", "/ /any /any/path/ /any?query", "/"},
	{"=/foo", "/foo /foo?query", "=/foo"},
	{"=/foo", "/bar /foo/ /foo/bar /FOO /fo /foobar /", "404"},
	{"=/foo/", "/foo", "404"},
	{"=/foo/", "/foo/", "=/foo/"},
	{"/foo", "/foo /foo/", "/foo"},
	{"/foo/", "/foo /foo/", "/foo/"},
	{"/aaa/bb", "/aaa/bbb", "404"},
	{"/aaa/bbb", "/aaa/bbb /aaa/bbb/ /aaa/bbb/ccc /aaa/bbb?c=/d", "/aaa/bbb"},
	{"/aaa/bbb/", "/aaa/bbb /aaa/bbb/ /aaa/bbb/ccc", "/aaa/bbb/"},
	{"/aaa/bbb", "/aaa/bbbxyz /aaa /aaa/b", "404"},
	{"/ /aaa", "/aaa/ccc", "/aaa"},
	{"/ /aaa /aaa/bbb", "/aaa/bbb", "/aaa/bbb"},
	{"/ /aaa /aaa/bbb", "/ccc /aaaa", "/"},
	{"/aaa", "/ccc", "404"},
	{"/foo =/foo", "/foo", "=/foo"},

	// Several matches: the longest path, then Exact before Prefix, in whatever
	// order they are written.
	{"=/foo /foo", "/foo/ /foo/bar", "/foo"},
	{"/aaa /aaa/bbb /aaa/bbb/ccc", "/aaa/bbb/ccc/ddd", "/aaa/bbb/ccc"},
	{"/aaa/bbb/ccc /aaa /aaa/bbb", "/aaa/bbb/cc", "/aaa/bbb"},
	{"/aaa/bbb =/aaa", "/aaa", "=/aaa"},
	{"/aaa/bbb =/aaa", "/aaa/", "404"},
	{"=/aaa/bbb /aaa", "/aaa/bbb", "=/aaa/bbb"},
	{"=/aaa/bbb /aaa", "/aaa/bbb/", "/aaa"},
	{"=/ /", "/", "=/"},
	{"=/ /", "/a", "/"},
	{"=/", "/a", "404"},

	// The path counts as the gateway reads it, on both sides.
	{"/ /admin", "/x/../admin /./admin //admin /%61dmin", "/admin"},
	{"/ /admin", "/admin/..", "/"},
	{"/ /caf%C3%A9", "/caf%C3%A9/menu", "/caf%C3%A9"},
	{"/ /%7Euser", "/~user /%7Euser", "/%7Euser"},

	// ImplementationSpecific is Prefix.
	{"~/foo", "/foo /foo/ /foo/bar", "~/foo"},
	{"~/foo", "/foobar", "404"},
	{"~/foo =/foo", "/foo", "=/foo"},
}

func testPaths(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	// A Service for each place among the paths of a host, and a host for each
	// set of paths.
	s.backends("path-0", "path-1", "path-2")
	s.settle("path-0", "path-1", "path-2")
	hosts := map[string]string{}
	var rules []networkingv1.IngressRule
	for _, row := range paths {
		if hosts[row.paths] != "" {
			continue
		}
		host := fmt.Sprintf("row-%d.paths.test", len(rules))
		hosts[row.paths] = host
		var pairs []string
		for i, path := range strings.Fields(row.paths) {
			pairs = append(pairs, path, fmt.Sprintf("path-%d", i))
		}
		rules = append(rules, rule(host, pairs...))
	}
	s.createAndServe(withRules("paths", rules...), slices.Sorted(maps.Values(hosts))...)
	for _, row := range paths {
		want := notFound
		if i := slices.Index(strings.Fields(row.paths), row.answer); i >= 0 {
			want = fmt.Sprintf("path-%d", i)
		}
		for _, request := range strings.Fields(row.requests) {
			if err := answered(hosts[row.paths], request, want)(t.Context()); err != nil {
				t.Errorf("%s of paths %s: want %s: %v", request, row.paths, row.answer, err)
			}
		}
	}
}
