package envoy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/xds/route"
)

// spelledHosts are all kinds of host in all spellings: Envoy finds the routes of
// the first one before its filters run, and those of the others later.
var spelledHosts = []string{
	"shop.test", "shop.test:80", "Shop.Test", "shop.test.", "a.shop.test", "A.shop.test:80", "other.test", "",
}

// willing is a backend that agrees to every upgrade, asked or not, and sends
// back what comes over the connection then; only of / it says that it is there.
func willing(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // HTTP/2 has no such thing
	}
	defer conn.Close()
	protocol := r.Header.Get("Upgrade")
	if protocol == "" {
		protocol = "websocket"
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n", protocol)
	io.Copy(conn, buffered) //nolint:errcheck // until the client leaves
}

func newWillingGateway(t *testing.T) *gateway {
	g := newGateway(t, testSettings(t),
		host("shop.test", prefix("/", "web")), host("*.shop.test", prefix("/", "web")), host("*", prefix("/", "web")))
	g.backend(port("web"), serving(t, willing))
	g.ready(spelledHosts...)
	return g
}

func TestOnlyWebSocketsAreTunnels(t *testing.T) {
	g := newWillingGateway(t)
	const tunnel, refused = "101 tunnel", "502"
	for _, c := range []struct {
		want    string
		headers []string
	}{
		{tunnel, []string{"Connection: Upgrade", "Upgrade: websocket"}},
		{tunnel, []string{"Connection: keep-alive, upgrade", "Upgrade: WebSocket"}},
		{tunnel, []string{"Connection: Upgrade", "Upgrade: websocket, tcp"}},
		{tunnel, []string{"Connection: Upgrade", "Upgrade: SPDY/3.1", "Upgrade: websocket"}},
		{refused, nil},
		{refused, []string{"Upgrade: websocket"}},
		{refused, []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"}},
		{refused, []string{"Connection: Upgrade", "Upgrade: tcp"}},
		{refused, []string{"Connection: Upgrade", "Upgrade: TLS/1.2"}},
		{refused, []string{"Connection: Upgrade", "Upgrade: SPDY/3.1"}},
		{refused, []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}},
		{refused, []string{"Connection: Upgrade", "Upgrade: websocket/14"}},
		{refused, []string{"Connection: Upgrade", "Upgrade: notwebsocket"}},
	} {
		for _, host := range spelledHosts {
			if got := g.tunnels(host, c.headers); got != c.want {
				t.Errorf("Host %q with %q: %s, want %s", host, c.headers, got, c.want)
			}
			// A connection that a backend takes for a tunnel carries no other
			// client's request.
			if r := g.get(host, "/"); r.StatusCode != http.StatusOK {
				t.Errorf("Host %q after %q: %d, want 200", host, c.headers, r.StatusCode)
			}
		}
	}
}

// tunnels asks for an upgrade and tells the status, and whether bytes then reach
// the backend as they are.
func (g *gateway) tunnels(host string, headers []string) string {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // it would fail by what follows
	lines := slices.Concat([]string{"GET /up HTTP/1.1", "Host: " + host}, headers, []string{"", ""})
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")); err != nil {
		g.t.Fatal(err)
	}
	from := bufio.NewReader(conn)
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Sprint(response.StatusCode)
	}
	const said = "past all rules\r\n\r\n"
	if _, err := io.WriteString(conn, said); err != nil {
		g.t.Fatal(err)
	}
	heard := make([]byte, len(said))
	if _, err := io.ReadFull(from, heard); err != nil || string(heard) != said {
		return fmt.Sprintf("101, and then %q %v", heard, err)
	}
	return "101 tunnel"
}

// Within HTTP/2 a client names the protocol in a header of its own (RFC 8441).
func TestOnlyWebSocketsAreTunnelsOverHTTP2(t *testing.T) {
	g := newWillingGateway(t)
	for _, host := range spelledHosts {
		if host == "" {
			continue // HTTP/2 has none without a name
		}
		for protocol, want := range map[string]string{
			"websocket": "200", "WebSocket": "200", "tcp": "403", "h2c": "403", "TLS/1.2": "403", "websocket, tcp": "403", "websocket/14": "403",
		} {
			conn, err := net.Dial("tcp", g.address())
			if err != nil {
				t.Fatal(err)
			}
			s := newH2Stream(t, conn)
			s.headers(":method", "CONNECT", ":protocol", protocol, ":scheme", "http", ":path", "/up", ":authority", host)
			if got := s.status(); got != want {
				t.Errorf("host %q, protocol %q: %s (%s), want %s", host, protocol, got, s.ended, want)
			} else if want == "200" {
				s.write([]byte("hi"))
				if echo := s.read(2); string(echo) != "hi" {
					t.Errorf("host %q, protocol %q: the echo is %q", host, protocol, echo)
				}
			}
			conn.Close()
		}
	}
}

// Backends over HTTP/2 have no such answer.
func TestAnUnaskedUpgradeOfABackend(t *testing.T) {
	g := newGateway(t, testSettings(t), host("shop.test", route.Route{
		Match: route.Match{Kind: route.Prefix, Path: "/"}, Cluster: &route.Cluster{Port: port("web"), Protocol: route.HTTP2},
	}))
	g.backend(port("web"), serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/up" {
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
	}))
	g.ready("shop.test")
	if r := g.get("shop.test", "/up"); r.StatusCode == http.StatusSwitchingProtocols {
		t.Errorf("status %d", r.StatusCode)
	}
}
