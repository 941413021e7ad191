package envoy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// quicGateway serves HTTP/3 for names.
type quicGateway struct {
	*gateway

	names []envoy.Listed
}

func newQUICGateway(t *testing.T, s route.Settings, hosts ...*route.Host) *quicGateway {
	t.Helper()
	s.HTTPSPort, s.TLS.HTTP3 = freeport.Get(t), true
	return &quicGateway{gateway: newGateway(t, s, hosts...)}
}

// list adds a name with its certificate, or gives it another one.
func (g *quicGateway) list(name route.Hostname, chain, key []byte) {
	g.ads.publish(envoy.Secret(envoy.ListedSecret(name), chain, key))
	for _, known := range g.names {
		if known.Name == name {
			return
		}
	}
	g.names = append(g.names, envoy.Listed{Name: name, Served: g.shards[envoy.ShardOf(name)][name] != nil && name[0] != '*'})
	g.ads.publish(envoy.HTTP3Listener(g.settings, g.names))
}

// h3 is a connection for a server name. It is opened with the first request.
func (g *quicGateway) h3(name string) *http3.Transport {
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{ServerName: name, InsecureSkipVerify: true},
		Dial: func(ctx context.Context, _ string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, fmt.Sprintf("127.0.0.1:%d", g.settings.HTTPSPort), tlsConfig, config)
		},
	}
	g.t.Cleanup(func() { transport.Close() })
	return transport
}

// getH3 asks for a host's path without touching either.
func getH3(t testing.TB, over *http3.Transport, host, path string) (reply, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host, nil)
	if err != nil {
		return reply{}, err
	}
	request.URL.Opaque = path
	return roundTrip(over, request)
}

// presents waits until new connections for a name get a certificate.
func (g *quicGateway) presents(name string, chain []byte) {
	g.t.Helper()
	block, _ := pem.Decode(chain)
	g.eventually("the certificate for "+name, func() error {
		transport := g.h3(name)
		defer transport.Close()
		r, err := getH3(g.t, transport, name, "/")
		if err != nil {
			return err
		}
		if got := r.TLS.PeerCertificates[0]; !bytes.Equal(got.Raw, block.Bytes) {
			return fmt.Errorf("it is that of %s, %q", got.Subject, got.DNSNames)
		}
		return nil
	})
}

// HTTP/3 serves what HTTPS does: the certificate of the name, exact before
// wildcard before the one for others, and the hosts behind it.
func TestHTTP3(t *testing.T) {
	g := newQUICGateway(t, testSettings(t),
		host("shop.test", prefix("/", "web")), host("*.shop.test", prefix("/", "web")), host("*", prefix("/", "web")))
	g.backend(port("web"), reporting(t, "web"))
	exact, exactKey := certificate(t, "shop.test")
	wildcard, wildcardKey := certificate(t, "*.shop.test")
	others, othersKey := certificate(t, "others.test")
	g.list("shop.test", exact, exactKey)
	g.list("*.shop.test", wildcard, wildcardKey)
	g.list("*", others, othersKey)
	g.ready("shop.test")
	g.presents("shop.test", exact)
	g.presents("a.shop.test", wildcard)
	g.presents("unknown.test", others)

	r, err := getH3(t, g.h3("a.shop.test"), "a.shop.test", "/path?query")
	if err != nil {
		t.Fatal(err)
	}
	got := r.seen()
	if r.Proto != "HTTP/3.0" || got.Backend != "web" || got.URI != "/path?query" || got.Host != "a.shop.test" ||
		got.Header.Get("X-Forwarded-Proto") != "https" || got.Header.Get("X-Real-Ip") != "127.0.0.1" ||
		got.Header.Get("X-Fairway-Host") != "" {
		t.Errorf("%s: the backend saw %+v", r.Proto, got)
	}

	// What is refused is refused here, too, under any kind of host.
	for _, host := range []string{"shop.test", "a.shop.test", "unknown.test"} {
		r, err := getH3(t, g.h3(host), host, "/x/%2e%2e;/admin")
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode != http.StatusForbidden {
			t.Errorf("dot segments with parameters of %s: %d, want 403", host, r.StatusCode)
		}
	}

	// Another certificate, and another name, close no connection.
	open := g.h3("shop.test")
	if _, err := getH3(t, open, "shop.test", "/"); err != nil {
		t.Fatal(err)
	}
	open.Dial = nil // it has its connection, and gets no other
	rotated, rotatedKey := certificate(t, "shop.test")
	g.list("shop.test", rotated, rotatedKey)
	g.presents("shop.test", rotated)
	added, addedKey := certificate(t, "new.test")
	g.list("new.test", added, addedKey)
	g.presents("new.test", added)
	r, err = getH3(t, open, "shop.test", "/")
	if err != nil {
		t.Fatalf("a connection that was open is closed: %v", err)
	}
	if block, _ := pem.Decode(exact); !bytes.Equal(r.TLS.PeerCertificates[0].Raw, block.Bytes) {
		t.Error("that was another connection")
	}
}

// A value of a header beyond ASCII arrives as it was sent, as over the other
// protocols.
func TestValuesBeyondASCIIOverHTTP3(t *testing.T) {
	g := newQUICGateway(t, testSettings(t), host("shop.test", prefix("/", "web")))
	g.backend(port("web"), reporting(t, "web"))
	chain, key := certificate(t, "shop.test")
	g.list("shop.test", chain, key)
	g.ready("shop.test")
	g.presents("shop.test", chain)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://shop.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	const cookie = "name=café"
	request.Header.Set("Cookie", cookie)
	r, err := roundTrip(g.h3("shop.test"), request)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.seen().Header.Get("Cookie"); got != cookie {
		t.Errorf("the backend saw %q, want %q", got, cookie)
	}
}

// Answers over HTTPS say that there is HTTP/3; those over HTTP do not, and what a
// backend says of its own ports is not passed on.
func TestAltSvc(t *testing.T) {
	s := testSettings(t)
	s.Published = route.PublicPorts{HTTPS: 443, HTTP3: 4443}
	g := newQUICGateway(t, s, host("shop.test", prefix("/", "web")))
	g.backend(port("web"), serving(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Alt-Svc", `h3=":1"`) }))
	chain, key := certificate(t, "shop.test")
	g.ads.publish(envoy.Secret("shop.test", chain, key))
	g.ready("shop.test")
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.settings.HTTPSPort), &tls.Config{ServerName: "shop.test", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
	r, err := readReplyFrom(conn)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Header.Values("Alt-Svc"); len(got) != 1 || got[0] != `h3=":4443"; ma=3600` {
		t.Errorf("over HTTPS: %q", got)
	}
}

// A connection for a host finds that host and others by their very names; for what
// only a wildcard or the default host serves, the client is sent to another one.
func TestHTTP3OfOneHost(t *testing.T) {
	g := newQUICGateway(t, testSettings(t), host("shop.test", prefix("/", "web")), host("other.test", prefix("/", "web")),
		host("*.shop.test", prefix("/", "web")), guardedHost("staff.test", "staff-ca required", prefix("/", "web")))
	g.backend(port("web"), reporting(t, "web"))
	chain, key := certificate(t, "shop.test")
	wildcard, wildcardKey := certificate(t, "*.shop.test")
	g.list("shop.test", chain, key)
	g.list("*.shop.test", wildcard, wildcardKey)
	g.ready("shop.test", "other.test")
	g.presents("shop.test", chain)
	g.presents("a.shop.test", wildcard)
	for _, c := range []struct {
		name, host string
		want       int
	}{
		{"shop.test", "shop.test", http.StatusOK},
		{"shop.test", "shop.test:443", http.StatusOK},
		{"shop.test", "other.test", http.StatusOK},
		{"shop.test", "staff.test", http.StatusMisdirectedRequest},
		{"a.shop.test", "staff.test", http.StatusMisdirectedRequest},
		{"shop.test", "a.shop.test", http.StatusMisdirectedRequest},
		{"shop.test", "unknown.test", http.StatusMisdirectedRequest},
		{"a.shop.test", "A.Shop.test", http.StatusOK},
		{"a.shop.test", "b.shop.test", http.StatusOK},
		{"a.shop.test", "shop.test", http.StatusOK},
		{"a.shop.test", "unknown.test", http.StatusNotFound},
	} {
		r, err := getH3(t, g.h3(c.name), c.host, "/")
		if err != nil || r.StatusCode != c.want {
			t.Errorf("%s over a connection for %s: %v, %v; want %d", c.host, c.name, r.Response, err, c.want)
		}
	}
}
