package envoy_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// authenticating is a backend that authenticates connections, as NTLM does: it
// takes all requests on a connection for requests of the user who first
// authenticated on it. It answers with that user, or "nobody" before.
func authenticating(t testing.TB, name string) string {
	var mu sync.Mutex
	users := map[string]string{} // by connection
	return serving(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if said := strings.Fields(r.Header.Get("Authorization")); len(said) > 0 { // several come joined
			users[r.RemoteAddr] = cmp.Or(users[r.RemoteAddr], said[len(said)-1])
		}
		w.Header().Set("X-Backend", name)
		w.Write([]byte(cmp.Or(users[r.RemoteAddr], "nobody")))
	})
}

// conversation is a connection of a client on which it sends one request after
// another.
type conversation struct {
	net.Conn
	from *bufio.Reader
}

func (g *gateway) converse() *conversation {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // it would fail by what follows
	return &conversation{conn, bufio.NewReader(conn)}
}

// ask returns the user that the backend takes the client for.
func (c *conversation) ask(t testing.TB, host string, headers ...string) reply {
	t.Helper()
	lines := append([]string{"GET / HTTP/1.1", "Host: " + host}, headers...)
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := readReply(c.from, http.MethodGet)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// boundAuthorizations are ways to authenticate a connection as alice.
var boundAuthorizations = [][]string{
	{"Authorization: NTLM alice"},
	{"authorization: ntlm alice"},
	{"Authorization: Negotiate alice"},
	{"AUTHORIZATION:   nEgOtIaTe   alice"},
	{"Authorization: Negotiate\talice"},
	{"Authorization: CredSSP alice"},
	{"Authorization: Basic alice", "Authorization: NTLM alice"},
	{"Authorization: NTLM alice", "Authorization: Basic alice"},
	{"Authorization: Basic alice\xff", "Authorization: NTLM alice\xff"},
}

// bobs is how many clients come after alice: each may be served by another thread
// of Envoy's, which knows other connections.
const bobs = 10

// A client never gets a backend connection that another client has authenticated,
// under any host and over any protocol.
func TestAuthenticatedConnectionsAreNotShared(t *testing.T) {
	staff := newSigner(t, "staff")
	hosts := []*route.Host{
		host("shop.test", prefix("/", "web")), host("*.shop.test", prefix("/", "web")), host("*", prefix("/", "web")),
		guardedHost("staff.test", "staff-ca required", prefix("/", "web")),
	}
	g := newQUICGateway(t, testSettings(t), hosts...)
	g.ads.publish(envoy.ClientCA(types.NamespacedName{Namespace: "shop", Name: "staff-ca"}, staff.pem))
	g.backend(port("web"), authenticating(t, "web"))
	chain, key := certificate(t, "shop.test")
	for _, name := range []string{"shop.test", "staff.test"} {
		g.ads.publish(envoy.Secret(name, chain, key))
	}
	g.list("shop.test", chain, key)
	g.listen(chainsOf(hosts...))
	g.ready("shop.test")

	over := map[string]func(host string, headers ...string) string{
		"HTTP/1.1": func(host string, headers ...string) string { return g.get(host, "/", headers...).Text },
		"HTTP/2": func(host string, headers ...string) string {
			return g.askH2(t, host, headers...)
		},
	}
	for protocol, ask := range over {
		for _, host := range []string{"shop.test", "shop.test:8080", "Shop.Test.", "a.shop.test", "other.test"} {
			t.Run(protocol+"/"+host, func(t *testing.T) {
				for _, authorization := range boundAuthorizations {
					if protocol == "HTTP/2" && strings.Contains(fmt.Sprint(authorization), "\xff") {
						continue // no client of Go's sends it
					}
					if user := strings.TrimSuffix(ask(host, authorization...), "\xff"); user != "alice" {
						t.Fatalf("%q: alice is %q", authorization, user)
					}
					for range bobs {
						if user := ask(host); user != "nobody" {
							t.Fatalf("%q: who comes next is %s", authorization, user)
						}
					}
					if user := ask(host, "Authorization: NTLM bob"); user != "bob" {
						t.Fatalf("%q: bob is %s", authorization, user)
					}
				}
			})
		}
	}
	t.Run("HTTP/3", func(t *testing.T) {
		g.presents("shop.test", chain)
		if user := g.askH3(t, "shop.test", "NTLM alice"); user != "alice" {
			t.Fatalf("alice is %s", user)
		}
		for i := range bobs {
			if user, want := g.askH3(t, "shop.test", fmt.Sprintf("NTLM bob%d", i)), fmt.Sprintf("bob%d", i); user != want {
				t.Fatalf("%s is %s", want, user)
			}
		}
	})
	t.Run("clients with certificates", func(t *testing.T) {
		client := staff.client("alice", time.Hour)
		ask := func(headers ...string) string {
			r, err := g.overHTTPS("staff.test", client, "staff.test", headers...)
			if err != nil {
				return err.Error()
			}
			return r.Text
		}
		g.eventually("the chain is there", func() error {
			if user := ask("Authorization: NTLM alice"); user != "alice" {
				return fmt.Errorf("alice is %s", user)
			}
			return nil
		})
		for range bobs {
			if user := ask(); user != "nobody" {
				t.Fatalf("who comes next is %s", user)
			}
		}
	})
}

// If the Service asks for it, all requests on one client connection go to the
// same endpoint over one backend connection. No other client's requests use that
// connection, neither from another connection nor from another client of a proxy
// in front.
func TestConnectionsPerClient(t *testing.T) {
	own := prefix("/", "web")
	own.Cluster.PerClient = true
	s := testSettings(t)
	s.TrustedHops = 1
	g := newGateway(t, s, host("shop.test", own), host("*.shop.test", own), host("*", own))
	g.backend(port("web"), authenticating(t, "one"), authenticating(t, "two"))
	g.ready("shop.test")
	for _, host := range []string{"shop.test", "Shop.Test.:80", "a.shop.test", "other.test"} {
		t.Run(host, func(t *testing.T) {
			endpoints := map[string]bool{}
			for i := range 30 {
				c := g.converse()
				first := c.ask(t, host, fmt.Sprintf("Authorization: NTLM user%d", i))
				endpoints[first.Header.Get("X-Backend")] = true
				for range 3 {
					if r := c.ask(t, host); r.Text != fmt.Sprintf("user%d", i) || r.Header.Get("X-Backend") != first.Header.Get("X-Backend") {
						t.Fatalf("user %d is %s at %s", i, r.Text, r.Header.Get("X-Backend"))
					}
				}
				if r := g.converse().ask(t, host); r.Text != "nobody" {
					t.Fatalf("who comes next is %s", r.Text)
				}
			}
			if len(endpoints) != 2 {
				t.Errorf("endpoints %v of 2 are used", endpoints)
			}
			c := g.converse()
			for _, user := range []string{"1", "2", "1", "2"} {
				client := "X-Forwarded-For: 192.0.2." + user
				c.ask(t, host, client, "Authorization: NTLM user"+user)
				if r := c.ask(t, host, client); r.Text != "user"+user {
					t.Errorf("behind a proxy, user %s is %s", user, r.Text)
				}
			}
		})
	}
}

// askH2 asks over a new connection by HTTP/2 without TLS.
func (g *gateway) askH2(t testing.TB, host string, headers ...string) string {
	t.Helper()
	client := g.client(true)
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+strings.TrimSuffix(host, "."), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ":")
		request.Header.Add(name, strings.TrimSpace(value))
	}
	return textOver(t, client.Transport, request)
}

// askH3 asks over a new connection by HTTP/3.
func (g *quicGateway) askH3(t testing.TB, host, authorization string) string {
	t.Helper()
	over := g.h3(host)
	defer over.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", authorization)
	return textOver(t, over, request)
}

// textOver is the body of the answer to a request.
func textOver(t testing.TB, over http.RoundTripper, request *http.Request) string {
	t.Helper()
	r, err := roundTrip(over, request)
	if err != nil {
		t.Fatal(err)
	}
	return r.Text
}
