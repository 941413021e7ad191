package envoy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// portsGateway serves an exact, a wildcard, a guarded and the default host, over
// HTTP, HTTPS and HTTP/3.
func portsGateway(t *testing.T, change func(*route.Settings)) *quicGateway {
	t.Helper()
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	change(&s)
	s.TLS.HTTP3 = s.ProxyProtocol == nil
	hosts := []*route.Host{
		host("shop.test", prefix("/", "web")), host("*.shop.test", prefix("/", "web")), host("*", prefix("/", "web")),
		guardedHost("staff.test", "staff-ca optional", prefix("/", "web")),
	}
	g := &quicGateway{gateway: newGateway(t, s, hosts...)}
	g.backend(port("web"), reporting(t, "web"))
	g.ads.publish(envoy.ClientCA(policyOf("staff-ca optional").CA, newSigner(t, "staff").pem))
	for _, name := range []string{"shop.test", "a.shop.test", "staff.test", "unknown.test"} {
		chain, key := certificate(t, name)
		g.ads.publish(envoy.Secret(name, chain, key))
		if s.TLS.HTTP3 && name == "shop.test" {
			g.list(route.Hostname(name), chain, key)
		}
	}
	g.listen(chainsOf(hosts...))
	return g
}

// portOver asks on a connection of its own, over TLS if it has a name, what the
// backend is told of the port. A PROXY header comes first, where there is one.
func (g *gateway) portOver(proxy, name, host string, headers ...string) (string, error) {
	port := g.settings.HTTPPort
	if name != "" {
		port = g.settings.HTTPSPort
	}
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // it would fail by what follows
	if _, err := io.WriteString(conn, proxy); err != nil {
		return "", err
	}
	if name != "" {
		conn = tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	}
	lines := append([]string{"GET / HTTP/1.1", "Host: " + host, "Connection: close"}, headers...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return "", err
	}
	r, err := readReply(bufio.NewReader(conn), "GET")
	if err != nil {
		return "", err
	}
	return strings.Join(r.seen().Header.Values("X-Forwarded-Port"), " and "), want(r, 200)
}

// tells demands what the backend is told of the port.
func (g *gateway) tells(want, proxy, name, host string, headers ...string) {
	g.t.Helper()
	g.eventually(fmt.Sprintf("%q, %q, %s, %q", proxy, name, host, headers), func() error {
		got, err := g.portOver(proxy, name, host, headers...)
		if err == nil && got != want {
			err = fmt.Errorf("X-Forwarded-Port is %q, want %q", got, want)
		}
		return err
	})
}

var spellings = []string{"shop.test", "SHOP.test.:8080", "a.shop.test", "staff.test", "unknown.test"}

// The backend learns the port that the client used. Neither the port that Envoy
// binds nor the client's own headers change it.
func TestForwardedPortIsTheClients(t *testing.T) {
	for _, c := range []struct {
		name               string
		settings           func(*route.Settings)
		http, https, http3 string // empty: the one that Envoy binds
	}{
		{"nothing is known of what is in front", func(*route.Settings) {}, "", "", ""},
		{"a Service", func(s *route.Settings) {
			s.Published = route.PublicPorts{HTTP: 80, HTTPS: 443, HTTP3: 444}
		}, "80", "443", "444"},
		{"it is configured", func(s *route.Settings) {
			s.Published = route.PublicPorts{HTTP: 80, HTTPS: 443, HTTP3: 444}
			s.Public = route.PublicPorts{HTTP: 8000, HTTPS: 8443}
		}, "8000", "8443", "8443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := portsGateway(t, c.settings)
			or := func(port string, bound uint16) string {
				if port == "" {
					return fmt.Sprint(bound)
				}
				return port
			}
			http, https := or(c.http, g.settings.HTTPPort), or(c.https, g.settings.HTTPSPort)
			for _, host := range spellings {
				if host != "staff.test" { // it is for HTTPS alone
					g.tells(http, "", "", host, "X-Forwarded-Port: 1", "X-Forwarded-Proto: https")
				}
				name, _, _ := strings.Cut(strings.ToLower(host), ".:")
				g.tells(https, "", name, host, "X-Forwarded-Port: 1", "X-Forwarded-Proto: http")
			}
			if status, got := g.h2(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "shop.test", "x-forwarded-port", "1"); status != "200" || got.Header.Get("X-Forwarded-Port") != http {
				t.Errorf("HTTP/2: %s, X-Forwarded-Port is %q, want %s", status, got.Header.Get("X-Forwarded-Port"), http)
			}
			r, err := getH3(t, g.h3("shop.test"), "shop.test", "/")
			if err != nil {
				t.Fatal(err)
			}
			if got, want := r.seen().Header.Get("X-Forwarded-Port"), or(c.http3, g.settings.HTTPSPort); got != want {
				t.Errorf("HTTP/3: X-Forwarded-Port is %q, want %s", got, want)
			}
		})
	}
}

// A PROXY header gives the port to which the client connected, unless it gives
// the listener's own port or none.
func TestForwardedPortBehindProxyProtocol(t *testing.T) {
	header := func(port uint16) string { return fmt.Sprintf("PROXY TCP4 203.0.113.7 192.0.2.1 4711 %d\r\n", port) }
	g := portsGateway(t, func(s *route.Settings) {
		s.Published = route.PublicPorts{HTTP: 80, HTTPS: 443}
		s.ProxyProtocol = &route.ProxyProtocol{Optional: true}
	})
	for _, host := range []string{"shop.test", "a.shop.test", "unknown.test"} {
		g.tells("8080", header(8080), "", host)
		g.tells("80", header(g.settings.HTTPPort), "", host)
		g.tells("80", "PROXY UNKNOWN\r\n", "", host)
		g.tells("80", "", "", host)
		g.tells("8443", header(8443), host, host)
		g.tells("443", header(g.settings.HTTPSPort), host, host)
		g.tells("443", "PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", host, host)
		g.tells("443", "", host, host)
	}
	g.tells("8443", header(8443), "staff.test", "staff.test")

	g = portsGateway(t, func(s *route.Settings) {
		s.Public = route.PublicPorts{HTTP: 8000, HTTPS: 9443}
		s.ProxyProtocol = &route.ProxyProtocol{}
	})
	g.tells("8000", header(8080), "", "shop.test")
	g.tells("9443", header(8443), "shop.test", "shop.test")
}

// A trusted proxy knows the port better; if it says only the scheme, the port is
// the public one of that.
func TestForwardedPortOfATrustedProxy(t *testing.T) {
	for _, proxy := range []*route.ProxyProtocol{nil, {Optional: true}} {
		g := portsGateway(t, func(s *route.Settings) {
			s.TrustedHops, s.ProxyProtocol = 1, proxy
			s.Published = route.PublicPorts{HTTP: 80, HTTPS: 443, HTTP3: 443}
		})
		own := fmt.Sprint(g.settings.HTTPPort)
		for _, host := range []string{"shop.test", "a.shop.test", "unknown.test"} {
			g.tells(own, "", "", host, "X-Forwarded-Port: "+own)
			g.tells("444", "", host, host, "X-Forwarded-Port: 444", "X-Forwarded-Proto: http")
			g.tells("80", "", "", host)
			g.tells("80", "", "", host, "X-Forwarded-Proto: http")
			g.tells("443", "", "", host, "X-Forwarded-Proto: https")
			g.tells("443", "", "", host, "X-Forwarded-Proto: HTTPS")
			g.tells("443", "", host, host)
			g.tells("80", "", host, host, "X-Forwarded-Proto: http")
		}
	}
}
