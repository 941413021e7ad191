package envoy_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// certificate is self-signed, for the name, in PEM.
func certificate(t *testing.T, name string) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	var chainPEM, keyPEM bytes.Buffer
	pem.Encode(&chainPEM, &pem.Block{Type: "CERTIFICATE", Bytes: der}) //nolint:errcheck // to memory
	pem.Encode(&keyPEM, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}) //nolint:errcheck // to memory
	return chainPEM.Bytes(), keyPEM.Bytes()
}

func TestHTTPSChoosesTheCertificateByName(t *testing.T) {
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	g := newGateway(t, s, host("shop.test", prefix("/", "web")), host("other.test", prefix("/", "web")))
	g.backend(port("web"), reporting(t, "web"))
	for _, name := range []string{"shop.test", "other.test"} {
		chain, key := certificate(t, name)
		g.ads.publish(envoy.Secret(name, chain, key))
	}
	address := fmt.Sprintf("127.0.0.1:%d", s.HTTPSPort)
	g.ready("shop.test")
	for _, name := range []string{"shop.test", "other.test"} {
		for _, protocol := range []string{"h2", "http/1.1"} {
			conn, err := tls.Dial("tcp", address, &tls.Config{
				ServerName: name, NextProtos: []string{protocol}, InsecureSkipVerify: true,
			})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			state := conn.ConnectionState()
			if err := state.PeerCertificates[0].VerifyHostname(name); err != nil || state.NegotiatedProtocol != protocol {
				t.Errorf("%s over %s: %q, %v", name, protocol, state.NegotiatedProtocol, err)
			}
			conn.Close()
		}
		old := &tls.Config{ServerName: name, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, InsecureSkipVerify: true}
		if conn, err := tls.Dial("tcp", address, old); err == nil {
			conn.Close()
			t.Errorf("%s: TLS 1.1 is accepted", name)
		}
	}
	got := overTLS(t, address, "shop.test")
	if got.Backend != "web" || got.Header.Get("X-Forwarded-Proto") != "https" || got.Header.Get("X-Forwarded-Port") != fmt.Sprint(s.HTTPSPort) {
		t.Errorf("the backend saw %+v", got)
	}
}

func overTLS(t *testing.T, address, name string) seen {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name)
	r, err := readReplyFrom(conn)
	if err != nil {
		t.Fatal(err)
	}
	return r.seen()
}

// A backend's certificate is for no name that we know; its protocol is what
// its port says, or what it negotiates.
func TestBackendsThatSpeakTLS(t *testing.T) {
	for _, c := range []struct {
		name     string
		protocol route.Protocol
		h2       bool // the backend offers HTTP/2
		want     string
	}{
		{"http/1.1 although it offers more", route.HTTP1, true, "HTTP/1.1"},
		{"http/2", route.HTTP2, true, "HTTP/2.0"},
		{"auto finds http/2", route.HTTPAuto, true, "HTTP/2.0"},
		{"auto finds http/1.1", route.HTTPAuto, false, "HTTP/1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, r.Proto) //nolint:errcheck // the client would miss it
			}))
			backend.EnableHTTP2 = c.h2
			backend.StartTLS()
			t.Cleanup(backend.Close)
			web := prefix("/", "web")
			web.Cluster.TLS, web.Cluster.Protocol = true, c.protocol
			g := newGateway(t, testSettings(t), host("shop.test", web))
			g.backend(port("web"), backend.Listener.Addr().String())
			g.ready("shop.test")
			if r := g.get("shop.test", "/"); r.Text != c.want {
				t.Errorf("%d %q, want %s", r.StatusCode, r.Text, c.want)
			}
		})
	}
}
