package controller_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/road"
	"github.com/fairwaynet/fairway/xds/gateway"
)

const serverName = "controller.fairway.test"

func TestEnvoysConnectWithMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ours, strangers := newAuthority(t), newAuthority(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	ours.write(t, file("ca.crt"))
	ours.issue(t, file("server.crt"), file("server.key"), serverName)
	ours.issue(t, file("envoy.crt"), file("envoy.key"), "envoy")
	strangers.issue(t, file("stranger.crt"), file("stranger.key"), "envoy")

	road.Backend(t, "shop", "10.77.2.1")
	r := road.Start(t, road.Options{
		Flags: []string{"--xds-cert", file("server.crt"), "--xds-key", file("server.key"), "--xds-client-ca", file("ca.crt")},
		TLS: &gateway.TLS{
			CA: file("ca.crt"), Certificate: file("envoy.crt"), Key: file("envoy.key"), ServerName: serverName,
		},
	})
	r.Create(t, road.Class("fairway"), road.Service("shop"), road.Slice("shop", "10.77.2.1"),
		road.Ingress("shop", "fairway", "tls.test", "/", "shop"))
	road.Eventually(t, patience, road.Answers("tls.test", "/", "shop"))

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
func welcome(t *testing.T, r *road.Road, ca *authority, cert, key string, hasCert bool) bool {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: serverName, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}
	config.RootCAs.AddCert(ca.cert)
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

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.cert, err = x509.ParseCertificate(sign(t, template, template, a.key, a.key)); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) write(t *testing.T, path string) {
	t.Helper()
	writePEM(t, path, "CERTIFICATE", a.cert.Raw)
}

// issue writes a certificate for name, and its key.
func (a *authority) issue(t *testing.T, cert, key, name string) {
	t.Helper()
	private := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{{Scheme: "fairway", Host: "gateway", Path: "/default"}},
	}
	writePEM(t, cert, "CERTIFICATE", sign(t, template, a.cert, private, a.key))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, key, "PRIVATE KEY", der)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
