package certificate_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fairwaynet/fairway/tls/certificate"
)

// FuzzParse: whatever a Secret holds, there is a certificate or a reason for
// people; what is served is a pair that TLS can use, and reads as itself; and no
// reason tells the key.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		c, fault := certificate.Parse(chain, key)
		if (c == nil) != (fault != "") {
			t.Fatalf("certificate %v, fault %q", c, fault)
		}
		if c == nil {
			if !utf8.ValidString(fault) || len(fault) > 1024 {
				t.Errorf("fault %q", fault)
			}
			for line := range bytes.Lines(key) {
				if line = bytes.TrimSpace(line); len(line) >= 48 && strings.Contains(fault, string(line)) {
					t.Errorf("fault %q tells the key", fault)
				}
			}
			return
		}
		if _, err := tls.X509KeyPair(c.Chain, c.Key.Reveal()); err != nil {
			t.Errorf("TLS cannot use it: %v", err)
		}
		again, fault := certificate.Parse(c.Chain, c.Key.Reveal())
		if fault != "" || !again.Equal(c) {
			t.Errorf("what is served does not read as itself: %s", fault)
		}
		for _, name := range c.DNSNames {
			if !strings.Contains(name, "*") && !c.Covers(strings.ToUpper(name)) && strings.ToLower(strings.ToUpper(name)) == name {
				t.Errorf("it does not cover its own name %q", name)
			}
		}
	})
}

// seeds are pairs of every kind of key and form, and what people do to them.
func seeds(f *testing.F) {
	f.Helper()
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	root := issue(f, nil, "root", ecKey(f, elliptic.P256()))
	for _, key := range []crypto.Signer{ecKey(f, elliptic.P256()), ecKey(f, elliptic.P384()), ecKey(f, elliptic.P224()), long, edwards} {
		leaf := issue(f, root, "leaf", key, "shop.test", "*.shop.test")
		f.Add(chain(leaf, root), pkcs8(f, key))
		f.Add(chain(root, leaf), pkcs8(f, key))
		f.Add(chain(leaf, leaf, leaf), append([]byte("-----BEGIN EC PARAMETERS-----\nBgg=\n-----END EC PARAMETERS-----\n"), pkcs8(f, key)...))
		f.Add(leaf.certificate.Raw, pkcs8(f, root.key))
		f.Add(bytes.ReplaceAll(chain(leaf), []byte("\n"), []byte("\r\n")), pkcs8(f, key)[:100])
	}
	sec1, err := x509.MarshalECPrivateKey(root.key.(*ecdsa.PrivateKey))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(chain(root), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}))
	f.Add(chain(root), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(long)}))
	f.Add(chain(root), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"DEK-Info": "x"}, Bytes: sec1}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{}, []byte{})
}
