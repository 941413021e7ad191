package envoy_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/test/tools"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// A TLS scanner accepts the defaults with both kinds of certificates, by
// Mozilla's "intermediate" profile. As a check of the scanner, it rejects them by
// "modern", which excludes TLS 1.2.
func TestAScannerFindsNothingToComplainOf(t *testing.T) {
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	ours := newSigner(t, "ours")
	g := newGateway(t, s, host("shop.test", prefix("/", "web")), host("old.test", prefix("/", "web")))
	g.backend(port("web"), reporting(t, "web"))
	g.scannable(t, ours, "shop.test", nil)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g.scannable(t, ours, "old.test", key)
	g.ready("shop.test")
	if complaint, ok := g.scan(t, ours, "intermediate", "shop.test", "old.test"); !ok {
		t.Errorf("the scanner complains:\n%s", complaint)
	}
	if complaint, ok := g.scan(t, ours, "modern", "shop.test"); ok || !strings.Contains(complaint, "TLSv1.2") {
		t.Errorf("the scanner does not complain of TLS 1.2:\n%s", complaint)
	}
}

// scannable publishes a certificate for a name, as an authority makes it; with an
// RSA key, or without one an ECDSA key.
func (g *gateway) scannable(t *testing.T, by *signer, name string, key *rsa.PrivateKey) {
	t.Helper()
	private := crypto.Signer(key)
	if key == nil {
		ecdsaKey, err := authority.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		private = ecdsaKey
	}
	chain, err := by.Sign(x509.Certificate{
		DNSNames: []string{name}, NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	g.ads.publish(envoy.Secret(name, chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

// scan is what sslyze says, and whether it is content.
func (g *gateway) scan(t *testing.T, trusted *signer, profile string, names ...route.Hostname) (said string, ok bool) {
	t.Helper()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, trusted.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--mozilla_config", profile, "--certinfo_ca_file", roots}
	for _, name := range names {
		args = append(args, fmt.Sprintf("%s:%d{127.0.0.1}", name, g.settings.HTTPSPort))
	}
	out, err := exec.CommandContext(t.Context(), tools.Path(t, "sslyze"), args...).CombinedOutput()
	_, complaints, _ := bytes.Cut(out, []byte("COMPLIANCE AGAINST"))
	if len(complaints) == 0 {
		t.Fatalf("sslyze did not come to an end: %v\n%s", err, out)
	}
	return string(complaints), err == nil
}
