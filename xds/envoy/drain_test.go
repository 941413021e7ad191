package envoy_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// echoing is a backend that says that it is there, and sends back what comes
// over a connection that is upgraded.
func echoing(t testing.TB) string {
	return serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		io.Copy(conn, buffered) //nolint:errcheck // until the client leaves
	})
}

// held is a connection for HTTP/2 and one for a WebSocket to a host.
type held struct {
	t      testing.TB
	host   string
	http2  *http2.ClientConn //nolint:staticcheck // the new one does not tell a GOAWAY from no room
	socket net.Conn
	from   *bufio.Reader
}

func (g *gateway) hold(host string, client *tls.Certificate) *held {
	g.t.Helper()
	connect := func(protocol string) *tls.Conn {
		config := &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: []string{protocol}}
		if client != nil {
			config.Certificates = []tls.Certificate{*client}
		}
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.settings.HTTPSPort), config)
		if err != nil {
			g.t.Fatal(err)
		}
		g.t.Cleanup(func() { conn.Close() })
		return conn
	}
	h := &held{t: g.t, host: host, socket: connect("http/1.1")}
	var err error
	if h.http2, err = (&http2.Transport{}).NewClientConn(connect("h2")); err != nil { //nolint:staticcheck // as above
		g.t.Fatal(err)
	}
	fmt.Fprintf(h.socket, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", host)
	h.from = bufio.NewReader(h.socket)
	response, err := http.ReadResponse(h.from, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		g.t.Fatalf("%s: %+v, %v", host, response, err)
	}
	if err := h.use(); err != nil {
		g.t.Fatal(err)
	}
	return h
}

var errDraining = errors.New("it is being drained")

// use is an error unless both connections work and are to stay.
func (h *held) use() error {
	h.t.Helper()
	request, err := http.NewRequest(http.MethodGet, "https://"+h.host+"/", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	response, err := h.http2.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("%s: %w", h.host, err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", h.host, response.Status)
	}
	const text = "hello"
	got := make([]byte, len(text))
	h.socket.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // what follows would fail
	if _, err := io.WriteString(h.socket, text); err != nil {
		return fmt.Errorf("%s: %w", h.host, err)
	}
	if _, err := io.ReadFull(h.from, got); err != nil || string(got) != text {
		return fmt.Errorf("%s: the socket says %q, %w", h.host, got, err)
	}
	if state := h.http2.State(); state.Closed || state.Closing {
		return fmt.Errorf("%s: %w", h.host, errDraining)
	}
	return nil
}

// Adding, changing and removing filter chains does not disturb the connections of
// other chains. Adding and removing names does not disturb those of their own
// chain.
func TestAChangeOfAChainDrainsThatChainAlone(t *testing.T) {
	staff := newSigner(t, "staff")
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	names := []string{"plain.test", "a.test", "b.test", "c.test", "d.test"}
	h := func(name, policy string) *route.Host {
		if policy == "" {
			return host(name, prefix("/", "web"))
		}
		return guardedHost(name, policy, prefix("/", "web"))
	}
	all := map[string]*route.Host{"plain.test": h("plain.test", ""), "a.test": h("a.test", "staff-ca required"), "d.test": h("d.test", "third-ca required")}
	current := func() (hosts []*route.Host) {
		for _, name := range names {
			if all[name] != nil {
				hosts = append(hosts, all[name])
			}
		}
		return hosts
	}
	g := newGateway(t, s, current()...)
	g.backend(port("web"), echoing(t))
	for _, ca := range []string{"staff-ca", "other-ca", "third-ca"} {
		g.ads.publish(envoy.ClientCA(types.NamespacedName{Namespace: "shop", Name: ca}, staff.pem))
	}
	for _, name := range names {
		chain, key := certificate(t, name)
		g.ads.publish(envoy.Secret(name, chain, key))
	}
	alice := staff.client("alice", time.Hour)
	served := func(name string, client *tls.Certificate) {
		t.Helper()
		g.eventually(name, func() error {
			r, err := g.overHTTPS(name, client, name)
			if err != nil {
				return err
			}
			return want(r, http.StatusOK)
		})
	}
	g.listen(chainsOf(current()...))
	served("plain.test", nil)
	served("a.test", alice)
	served("d.test", alice)
	plain, a, d := g.hold("plain.test", nil), g.hold("a.test", alice), g.hold("d.test", alice)
	stay := func(what string, connections ...*held) {
		t.Helper()
		for _, c := range connections {
			if err := c.use(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	step := func(name, policy string, client *tls.Certificate) {
		t.Helper()
		all[name] = h(name, policy)
		g.serve(all[name])
		g.listen(chainsOf(current()...))
		served(name, client)
	}
	step("b.test", "other-ca required", alice)
	stay("a chain has come", plain, a, d)
	step("c.test", "staff-ca required", alice)
	stay("a name has come to a chain", plain, a, d)
	c := g.hold("c.test", alice)
	step("c.test", "", nil)
	stay("a name has gone from a chain", plain, a, d)
	stay("a name has left the chain of its connection", c)
	step("a.test", "staff-ca optional", nil)
	stay("a chain has gone, and another come", plain, d)
	g.eventually("the chain that has gone is drained", func() error {
		if err := a.use(); err == nil {
			return errors.New("it is not")
		}
		return nil
	})
	g.listen(nil)
	served("plain.test", nil)
	stay("all chains have gone", plain)
}
