package envoy_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/fairwaynet/fairway/xds/route"
)

// The client address that a backend gets.
const (
	claimed = "203.0.113.7" // by the PROXY header
	peer    = "the peer"
	closed  = "closed" // nothing: so was the connection
)

// spoken sends a PROXY header and a request on one connection, and returns what
// the backend was told of the client.
func spoken(t *testing.T, g *gateway, header string) string {
	t.Helper()
	connection, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(g.settings.HTTPPort)))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "%sGET /client HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n", header); err != nil {
		return closed
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return closed
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Sprint(response.StatusCode)
	}
	if client := response.Header.Get("Client"); client == claimed {
		return client
	}
	return peer
}

func TestProxyProtocol(t *testing.T) {
	const told = "PROXY TCP4 " + claimed + " 192.0.2.1 4711 80\r\n"
	loopback, elsewhere := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")
	for _, test := range []struct {
		name        string
		settings    *route.ProxyProtocol
		told, plain string // the client's address with and without a header
	}{
		{"none is expected", nil, "400", peer},
		{"everybody is believed", &route.ProxyProtocol{}, claimed, closed},
		{"the load balancer is believed", &route.ProxyProtocol{From: []netip.Prefix{elsewhere, loopback}}, claimed, closed},
		{"others are not let in", &route.ProxyProtocol{From: []netip.Prefix{elsewhere}}, closed, closed},
		{"others are not let in without a header either", &route.ProxyProtocol{From: []netip.Prefix{elsewhere}, Optional: true}, closed, closed},
		{"a header is optional", &route.ProxyProtocol{From: []netip.Prefix{loopback}, Optional: true}, claimed, peer},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := testSettings(t)
			s.Address, s.ProxyProtocol = "::", test.settings // dual stack: peers over IPv4 are matched as such
			g := newGateway(t, s, host("shop.test", prefix("/", "web")))
			g.backend(port("web"), serving(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Client", r.Header.Get("X-Forwarded-For"))
			}))
			for header, want := range map[string]string{told: test.told, "": test.plain} {
				g.eventually(fmt.Sprintf("%q", header), func() error {
					if got := spoken(t, g, header); got != want {
						return fmt.Errorf("the client is %q, want %q", got, want)
					}
					return nil
				})
			}
		})
	}
}
