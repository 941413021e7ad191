package envoy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// theRoots is the authority of these tests.
var theRoots = route.Authority{Namespace: "shop", Name: "roots"}

// secured is a backend over TLS whose certificate can be changed.
type secured struct {
	*httptest.Server

	certificate atomic.Pointer[tls.Certificate]
	sni         atomic.Pointer[string] // of the last handshake
}

func newSecured(t *testing.T, certificate *tls.Certificate) *secured {
	t.Helper()
	b := &secured{}
	b.certificate.Store(certificate)
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that shall fail
	b.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		b.sni.Store(&hello.ServerName)
		return b.certificate.Load(), nil
	}}
	b.StartTLS()
	t.Cleanup(b.Close)
	return b
}

// Envoy connects to a backend if and only if the authority has signed its
// certificate and the certificate is for its name.
func TestBackendsAreVerified(t *testing.T) {
	ours, theirs := newSigner(t, "ours"), newSigner(t, "theirs")
	right, wildcard := ours.issue("pay.shop.svc"), ours.issue("*.pay.test")
	both := slices.Concat(theirs.pem, ours.pem)
	for _, c := range []struct {
		name        string
		certificate *tls.Certificate
		ca          []byte
		sni         string // of the cluster
		want        int
		asked       string // by Envoy, in the handshake
	}{
		{"vouched for, by the Service's name", right, ours.pem, "", http.StatusOK, "pay.shop.svc"},
		{"one of several vouches", right, both, "", http.StatusOK, "pay.shop.svc"},
		{"by a name that is given, and a wildcard", wildcard, ours.pem, "a.pay.test", http.StatusOK, "a.pay.test"},
		{"a wildcard stands for one label", wildcard, ours.pem, "a.b.pay.test", http.StatusServiceUnavailable, "a.b.pay.test"},
		{"for another name", ours.issue("elsewhere.shop.svc"), ours.pem, "", http.StatusServiceUnavailable, "pay.shop.svc"},
		{"vouched for by another", right, theirs.pem, "", http.StatusServiceUnavailable, "pay.shop.svc"},
		{"nobody vouches", right, nil, "", http.StatusServiceUnavailable, "pay.shop.svc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			backend := newSecured(t, c.certificate)
			g := verifying(t, c.sni, c.ca, backend)
			g.eventually("a handshake", func() error {
				r := g.get("shop.test", "/")
				if backend.sni.Load() == nil {
					return errors.New("none yet")
				}
				if r.StatusCode != c.want {
					t.Errorf("status %d, want %d", r.StatusCode, c.want)
				}
				return nil
			})
			if asked := *backend.sni.Load(); asked != c.asked {
				t.Errorf("the handshake asks for %q, want %q", asked, c.asked)
			}
		})
	}
}

// verifying is a gateway that verifies the backend of shop.test.
func verifying(t *testing.T, sni string, ca []byte, backend *secured) *gateway {
	t.Helper()
	web := prefix("/", "pay")
	web.Cluster.TLS, web.Cluster.Authority, web.Cluster.SNI = true, theRoots, sni
	g := newGateway(t, testSettings(t), host("shop.test", web))
	g.ads.publish(envoy.Authority(theRoots, ca))
	g.backend(port("pay"), backend.Listener.Addr().String())
	return g
}

// The authority is replaced while requests flow, and no request is lost.
func TestAuthoritiesRotateUnderTraffic(t *testing.T) {
	before, after := newSigner(t, "before"), newSigner(t, "after")
	backend := newSecured(t, before.issue("pay.shop.svc"))
	g := verifying(t, "", before.pem, backend)
	g.eventually("it serves", func() error { return want(g.get("shop.test", "/"), http.StatusOK) })

	ctx, stop := context.WithCancel(t.Context())
	var requests, lost atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if r, err := g.tryRaw("GET / HTTP/1.1\nHost: shop.test\n\n"); err != nil || r.StatusCode != http.StatusOK {
					lost.Add(1)
				}
				requests.Add(1)
			}
		})
	}
	flow := func() {
		until := requests.Load() + 200
		g.eventually("200 requests", func() error {
			if requests.Load() < until {
				return errors.New("too few")
			}
			return nil
		})
	}
	flow()
	g.ads.publish(envoy.Authority(theRoots, slices.Concat(before.pem, after.pem)))
	flow()
	backend.certificate.Store(after.issue("pay.shop.svc"))
	flow()
	g.ads.publish(envoy.Authority(theRoots, after.pem))
	flow()
	stop()
	clients.Wait()
	if lost.Load() > 0 {
		t.Errorf("%d of %d requests were lost", lost.Load(), requests.Load())
	}
	// And it has taken effect: what vouched before does so no more.
	backend.certificate.Store(before.issue("pay.shop.svc"))
	backend.CloseClientConnections()
	g.eventually("it is refused", func() error { return want(g.get("shop.test", "/"), http.StatusServiceUnavailable) })
}

// A client that sends the name of an internal secret as its server name gets no
// handshake, and Envoy does not request the secret.
func TestNoClientAsksForSecretsOfOurs(t *testing.T) {
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	g := newGateway(t, s, host("shop.test", prefix("/", "web")))
	ours := []string{envoy.AuthorityName(theRoots), envoy.ListedSecret("shop.test")}
	for _, name := range append(ours, "unknown.test") {
		config := &tls.Config{ServerName: name, InsecureSkipVerify: true}
		if conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", fmt.Sprintf("127.0.0.1:%d", s.HTTPSPort), config); err == nil {
			conn.Close()
			t.Errorf("a handshake for %q", name)
		}
	}
	g.eventually("a stranger's name is asked for", func() error {
		if !g.ads.asked(envoy.TypeSecret, "unknown.test") {
			return errors.New("not yet")
		}
		return nil
	})
	for _, name := range ours {
		if g.ads.asked(envoy.TypeSecret, name) {
			t.Errorf("a client has Envoy ask for %q", name)
		}
	}
}
