package envoy_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/fairwaynet/fairway/xds/route"
)

// asked is the result of a request: its status, or 0 if the connection or the
// stream ended without an answer, and what a backend saw.
type asked struct {
	status int
	seen   seen
}

// targetsGateway serves all kinds of hosts, and asks them for a target in each
// protocol just as it stands.
func targetsGateway(t *testing.T) map[string]func(host, target string) asked {
	g := newQUICGateway(t, testSettings(t),
		host("shop.test", prefix("/", "web")), host("*.shop.test", prefix("/", "web")), host("*", prefix("/", "web")))
	g.backend(port("web"), reporting(t, "web"))
	connections := map[route.Hostname]*http3.Transport{}
	for _, name := range []route.Hostname{"shop.test", "*.shop.test", "*"} {
		chain, key := certificate(t, string(name))
		g.list(name, chain, key)
	}
	g.ready("shop.test", "a.shop.test", "other.test")
	for _, name := range []route.Hostname{"shop.test", "a.shop.test", "other.test"} {
		connections[name] = g.h3(string(name))
		g.eventually("HTTP/3 of "+string(name), func() error {
			_, err := getH3(t, connections[name], string(name), "/")
			return err
		})
	}
	answered := func(r reply, err error) asked {
		if err != nil {
			return asked{}
		}
		return asked{r.StatusCode, r.seen()}
	}
	return map[string]func(host, target string) asked{
		"HTTP/1.1": func(host, target string) asked {
			return answered(g.tryRaw("GET " + target + " HTTP/1.1\nHost: " + host + "\n\n"))
		},
		"HTTP/2": func(host, target string) asked {
			status, saw := g.h2(":method", "GET", ":scheme", "http", ":authority", host, ":path", target)
			out := asked{seen: saw}
			fmt.Sscan(status, &out.status) //nolint:errcheck // there may be none
			return out
		},
		"HTTP/3": func(host, target string) asked {
			name, _ := route.HostOf(host)
			return answered(getH3(t, connections[name], host, target))
		},
	}
}

// In a path, octets beyond ASCII are escaped before anything can refuse them; but
// over HTTP/1.1 they are refused before that.
func TestOctetsOfAPath(t *testing.T) {
	for protocol, ask := range targetsGateway(t) {
		want := asked{status: http.StatusOK, seen: seen{URI: "/caf%C3%A9/%FF"}}
		if protocol == "HTTP/1.1" {
			want = asked{status: http.StatusBadRequest}
		}
		for _, host := range []string{"shop.test", "a.shop.test", "other.test"} {
			if got := ask(host, "/caf\xc3\xa9/\xff"); got.status != want.status || got.seen.URI != want.seen.URI {
				t.Errorf("%s, %s: %d, and the backend saw %q; want %d, %q", protocol, host, got.status, got.seen.URI, want.status, want.seen.URI)
			}
		}
	}
}

// Octets that a URL cannot hold never reach a backend in a query, over any
// protocol and for any host. The answer is the one that Explain gives. Legal
// octets arrive unchanged.
func TestOctetsOfAQuery(t *testing.T) {
	for protocol, ask := range targetsGateway(t) {
		t.Run(protocol, func(t *testing.T) {
			for _, host := range spelledHosts {
				if host == "" && protocol != "HTTP/1.1" {
					continue // they have none without a name
				}
				for _, target := range []string{
					"/?q=caf\xc3\xa9", "/cart?\xff", "/?a=b&c=\x80\xfe", "/a%2fb?q=\xc3\xa9", "/x/%2e%2e;/admin?q=\xc3\xa9", "/a//b?\xc3\xa9",
				} {
					if got := ask(host, target); got.status != http.StatusBadRequest {
						t.Errorf("%s %q: %d, and the backend saw %q; want 400", host, target, got.status, got.seen.URI)
					}
				}
			}
			for _, host := range []string{"shop.test", "a.shop.test", "other.test"} {
				const escaped = "/caf%C3%A9?q=caf%C3%A9&\"<>[]^`{|}'\\"
				if got := ask(host, escaped); got.status != http.StatusOK || got.seen.URI != escaped {
					t.Errorf("%s %q: %d, and the backend saw %q", host, escaped, got.status, got.seen.URI)
				}
			}
			for octet := range 256 {
				if octet == '\n' && protocol == "HTTP/1.1" {
					continue // the request line ends there
				}
				target := "/?q=a" + string([]byte{byte(octet)}) + "b"
				want := asked{status: http.StatusOK, seen: seen{URI: target}}
				if explained := route.DefaultSettings().PathOf(target).Status; explained != 0 {
					want = asked{status: explained}
				}
				if (octet <= ' ' || octet == 0x7f) && protocol != "HTTP/1.1" {
					want.status = 0 // the stream is reset
				}
				if got := ask("shop.test", target); got.status != want.status || got.seen.URI != want.seen.URI {
					t.Errorf("%q: %d, and the backend saw %q; want %d, %q", target, got.status, got.seen.URI, want.status, want.seen.URI)
				}
			}
		})
	}
}
