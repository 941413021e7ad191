package controller_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/gateway"
)

const serverName = "controller.fairway.test"

func TestEnvoysConnectWithMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ours, strangers := newSigner(t), newSigner(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	write(t, file("ca.crt"), ours.PEM())
	ours.issue(t, file("server.crt"), file("server.key"), serverName)
	ours.issue(t, file("envoy.crt"), file("envoy.key"), "envoy")
	strangers.issue(t, file("stranger.crt"), file("stranger.key"), "envoy")

	fairway.Backend(t, "shop", "10.77.2.1")
	r := fairway.Start(t, fairway.Options{
		Flags: []string{"--xds-cert", file("server.crt"), "--xds-key", file("server.key"), "--xds-client-ca", file("ca.crt")},
		TLS: &gateway.TLS{
			CA: file("ca.crt"), Certificate: file("envoy.crt"), Key: file("envoy.key"), ServerName: serverName,
		},
	})
	r.Create(t, fairway.Class("fairway"), fairway.Service("shop"), fairway.Slice("shop", "10.77.2.1"),
		fairway.Ingress("shop", "fairway", "tls.test", "/", "shop"))
	fairway.Eventually(t, patience, fairway.Answers("tls.test", "/", "shop"))

	for _, test := range []struct {
		name      string
		cert, key string
		welcome   bool
	}{
		{"an Envoy of ours", "envoy.crt", "envoy.key", true},
		{"a stranger", "stranger.crt", "stranger.key", false},
		{"nobody", "", "", false},
	} {
		if got := welcome(t, r, ours, filepath.Join(dir, test.cert), filepath.Join(dir, test.key), test.cert != ""); got != test.welcome {
			t.Errorf("%s: welcome %t, want %t", test.name, got, test.welcome)
		}
	}
}

// welcome reports whether the controller completes a handshake with a client.
func welcome(t *testing.T, r *fairway.Installation, ca signer, cert, key string, hasCert bool) bool {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: serverName, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}
	config.RootCAs.AddCert(ca.Certificate)
	if hasCert {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	connection, err := tls.Dial("tcp", r.XDS.String(), config)
	if err != nil {
		return false
	}
	defer connection.Close()
	// With TLS 1.3 the server's refusal comes after the client's handshake. An
	// HTTP/2 server says something at once.
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, err = connection.Read(make([]byte, 1))
	return err == nil
}

// signer is an authority whose certificates are written to files.
type signer struct{ *authority.Authority }

func newSigner(t *testing.T) signer {
	t.Helper()
	a, err := authority.New("authority", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return signer{a}
}

// issue writes a certificate for name, and its key.
func (s signer) issue(t *testing.T, cert, key, name string) {
	t.Helper()
	private, err := authority.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := s.Sign(x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{{Scheme: "fairway", Host: "gateway", Path: "/default"}},
	}, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := authority.EncodeKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, chain)
	write(t, key, encoded)
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
