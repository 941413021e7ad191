package envoy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// slashed are routes of which some keep repeated slashes, some merge them, and
// some say nothing of it.
func slashed(more int) []route.Route {
	keeps, merges, sent := prefix("/keep", "web"), prefix("/merge", "web"), prefix("/sent", "web")
	keeps.RepeatedSlashes, merges.RepeatedSlashes = route.RepeatedSlashesKeep, route.RepeatedSlashesMerge
	sent.RepeatedSlashes, sent.Redirect = route.RepeatedSlashesKeep, true
	routes := []route.Route{
		{Match: route.Match{Kind: route.Prefix, Path: "/admin"}, Status: http.StatusServiceUnavailable, Reason: "Admin"},
		exactly("/keep/exact", "exact"), keeps, merges, sent,
	}
	for i := range more {
		routes = append(routes, prefix(fmt.Sprintf("/p%d", i), "web"))
	}
	return append(routes, prefix("/", "web"))
}

// slashesCases are paths, and the path that a backend sees, for gateways that
// keep repeated slashes and for those that merge them.
var slashesCases = []struct{ path, merged, kept string }{
	{"/keep/a", "/keep/a", "/keep/a"},
	{"/keep//a.jpg", "/keep//a.jpg", "/keep//a.jpg"},
	{"/keep//a?b=//c", "/keep//a?b=//c", "/keep//a?b=//c"},
	{"//keep///a//", "//keep///a//", "//keep///a//"},
	{"/x/..//keep//%61", "//keep//a", "//keep//a"},
	{"/keep//../a", "/keep/a", "/keep/a"},
	{`/keep\/a`, "/keep//a", "/keep//a"},
	{"/merge//a", "/merge/a", "/merge/a"},
	{"//merge//a//?//", "/merge/a/?//", "/merge/a/?//"},
	{"/other//a", "/other/a", "/other//a"},
	{"/p3//a", "/p3/a", "/p3//a"},
	{"////", "/", "////"},
	{"/?url=https://other.test", "/?url=https://other.test", "/?url=https://other.test"},
}

// guardedPaths are spellings of what one rule refuses.
var guardedPaths = []string{"//admin", "/admin//x", "///admin///", "/x/..//admin", `/\\admin`, "//%61dmin", "//admin?x"}

func testSlashes(t *testing.T, choice route.RepeatedSlashes, more int) {
	s := testSettings(t)
	s.HTTPSPort, s.TLS.HTTP3, s.RepeatedSlashes = freeport.Get(t), true, choice
	hosts := []*route.Host{
		host("shop.test", slashed(more)...), host("*.shop.test", slashed(more)...), host("*", slashed(more)...),
		guardedHost("staff.test", "staff-ca required", slashed(more)...),
	}
	g := &quicGateway{gateway: newGateway(t, s, hosts...)}
	g.backend(port("web"), reporting(t, "web"))
	g.backend(port("exact"), reporting(t, "exact"))
	staff := newSigner(t, "staff")
	g.ads.publish(envoy.ClientCA(policyOf("staff-ca required").CA, staff.pem))
	for _, name := range []string{"shop.test", "staff.test"} {
		chain, key := certificate(t, name)
		g.ads.publish(envoy.Secret(name, chain, key))
	}
	chain, key := certificate(t, "shop.test")
	g.list("shop.test", chain, key)
	g.listen(chainsOf(hosts...))
	g.ready("shop.test")
	g.presents("shop.test", chain)
	employee := staff.issue("ann")
	ways := map[string]func(path string) reply{
		"HTTP/3": func(path string) reply {
			r, err := getH3(t, g.h3("shop.test"), "shop.test", path)
			if err != nil {
				t.Fatal(err)
			}
			return r
		},
		"HTTP/2": func(path string) reply {
			s := g.h2Ended(":method", "GET", ":scheme", "http", ":path", path, ":authority", "shop.test")
			var status int
			fmt.Sscan(s.got[":status"], &status) //nolint:errcheck // 0 is no status
			return reply{&http.Response{StatusCode: status}, s.data.String()}
		},
		"mutual TLS": func(path string) reply {
			return g.rawOverHTTPS("staff.test", "GET "+path+" HTTP/1.1\nHost: staff.test\n\n", *employee)
		},
	}
	for _, name := range []string{"shop.test", "SHOP.test.:8080", "a.shop.test", "unknown.test"} {
		ways[name] = func(path string) reply { return g.get(name, path) }
	}
	for way, ask := range ways {
		for _, c := range slashesCases {
			want := c.merged
			if choice == route.RepeatedSlashesKeep {
				want = c.kept
			}
			if way == "HTTP/3" && strings.HasPrefix(c.path, "//") || way == "HTTP/3" && strings.Contains(c.path, `\`) {
				continue // the client's library cannot send it
			}
			r := ask(c.path)
			if got := r.seen(); r.StatusCode != http.StatusOK || got.URI != want || got.Backend != "web" {
				t.Errorf("%s %s: %d, %q sees %q, want web sees %q", way, c.path, r.StatusCode, got.Backend, got.URI, want)
			}
		}
		if got := ask("/keep//exact").seen(); got.Backend != "exact" {
			t.Errorf("%s /keep//exact: %q answers, want exact", way, got.Backend)
		}
		for _, path := range guardedPaths {
			if way == "HTTP/3" {
				break
			}
			if r := ask(path); r.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s %s: %d, and the backend saw %q: past the rule for /admin", way, path, r.StatusCode, r.seen().URI)
			}
		}
	}
	for _, name := range []string{"shop.test", "a.shop.test", "unknown.test"} {
		r := g.get(name, "/sent//to?x=//y")
		if got, want := r.Header.Get("Location"), fmt.Sprintf("https://%s:%d/sent//to?x=//y", name, s.HTTPSPort); got != want {
			t.Errorf("%s: sent to %q, want %q", name, got, want)
		}
	}
}

// rawOverHTTPS is raw on a connection for a name, with the certificates of a
// client.
func (g *gateway) rawOverHTTPS(name, request string, client ...tls.Certificate) reply {
	g.t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.settings.HTTPSPort), &tls.Config{
		ServerName: name, InsecureSkipVerify: true, Certificates: client,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))                      //nolint:errcheck // it would fail by what follows
	io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")) //nolint:errcheck // the answer would be missing
	r, err := readReplyFrom(conn)
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// The path with merged slashes decides the route, for every spelling, kind of
// host and protocol. The route, or else the gateway, decides which path the
// backend sees.
func TestRepeatedSlashes(t *testing.T) {
	for _, choice := range route.RepeatedSlashesChoices() {
		for name, more := range map[string]int{"list": 5, "tree": 40} {
			t.Run(string(choice)+" "+name, func(t *testing.T) { testSlashes(t, choice, more) })
		}
	}
}

// A client that is sent to the path which its escaped slashes stand for stays
// with the host.
func TestEscapedSlashesLeadToNoOtherHost(t *testing.T) {
	g := pathsGateway(t, route.EscapedSlashesRedirect)
	for path, want := range map[string]string{
		"/%2fevil.test/x?y":    "/.//evil.test/x?y",
		"/%5cevil.test":        "/.//evil.test",
		`/\%2Fevil.test`:       "/.///evil.test",
		"/x/..%2f%2Fevil.test": "/.//evil.test",
		"//evil.test%2f":       "/.//evil.test/",
		"/cart%2f%2ftotal":     "/cart//total",
	} {
		for _, host := range []string{"shop.test", "SHOP.TEST:80"} {
			if r := g.get(host, path); r.StatusCode != http.StatusTemporaryRedirect || r.Header.Get("Location") != want {
				t.Errorf("%s %s: %d to %q, want 307 to %q", host, path, r.StatusCode, r.Header.Get("Location"), want)
			}
		}
	}
	if got := g.get("shop.test", "/.//admin").seen(); got.Backend != "admin" || got.URI != "/admin" {
		t.Errorf("a client that follows: %q sees %q", got.Backend, got.URI)
	}
}
