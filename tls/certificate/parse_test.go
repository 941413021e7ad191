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
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/tls/certificate"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func ecKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// link is a certificate of a chain.
type link struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// issue makes a certificate that parent signs; nil: itself does.
func issue(t testing.TB, parent *link, subject string, key crypto.Signer, names ...string) *link {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xabc), Subject: pkix.Name{CommonName: subject}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true, IsCA: len(names) == 0,
	}
	by, signer := template, key
	if parent != nil {
		by, signer = parent.certificate, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &link{made, key}
}

func chain(links ...*link) []byte {
	var out []byte
	for _, l := range links {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.certificate.Raw})...)
	}
	return out
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	key, other := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	good, root := issue(t, nil, "good", key, "shop.test"), issue(t, nil, "root", other)
	second := fmt.Sprint(1 + bytes.Count(chain(good), []byte("\n"))) // the line of what stands behind it
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224 := ecKey(t, elliptic.P224())
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no DER")})
	locked := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	garbled := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")})
	for _, c := range []struct {
		name       string
		chain, key []byte
		want       string
	}{
		{"no certificate", nil, pkcs8(t, key), "there is no certificate in it"},
		{"no key", chain(good), nil, "there is no key in it"},
		{"DER", good.certificate.Raw, pkcs8(t, key), "the chain cannot be read: it is binary (DER), not PEM"},
		{"a key that is DER", chain(good), []byte("hunter2"), "the key cannot be read: it is not PEM"},
		{"a key where the certificate should be", pkcs8(t, key), pkcs8(t, key), "there is no certificate in the chain, but a private key"},
		{"a certificate where the key should be", chain(good), chain(good), "there is no private key in it, but a certificate"},
		{"a damaged certificate", broken, pkcs8(t, key), "block 1 of the chain (line 1) cannot be read as a certificate: "},
		{"a damaged second certificate", append(chain(good), broken...), pkcs8(t, key), "block 2 of the chain (line " + second + ") cannot be read as a certificate: "},
		{"a damaged key", chain(good), garbled, "the key (block 1, line 1) cannot be read"},
		{"a password", chain(good), locked, "the key (block 1, line 1) is protected by a password"},
		{"a block of the chain that is cut off", append(chain(good), chain(root)[:200]...), pkcs8(t, key), "the chain cannot be read: block 2 (CERTIFICATE, line " + second + ") has no line -----END CERTIFICATE-----"},
		{"a character that is none", append(chain(good), bytes.Replace(chain(root), []byte("\nMII"), []byte("\n*II"), 1)...), pkcs8(t, key), "the chain cannot be read: block 2 (CERTIFICATE, line " + second + ") is damaged: character 1 of line "},
		{"line breaks as two characters", bytes.ReplaceAll(chain(good, root), []byte("\n"), []byte(`\n`)), pkcs8(t, key), `the chain cannot be read: it has the two characters \n`},
		{"a request", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}), pkcs8(t, key), "block 1 of the chain (line 1) is a request for a certificate, not the certificate"},
		{"OpenSSL's own", append(chain(good), pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: []byte("x")})...), pkcs8(t, key), "block 2 of the chain (line " + second + ") is a TRUSTED CERTIFICATE"},
		{"a type that nobody knows", append(chain(good), pem.EncodeToMemory(&pem.Block{Type: "ATTRIBUTE", Bytes: []byte("x")})...), pkcs8(t, key), "is a block of type ATTRIBUTE, not a certificate"},
		{"a key of OpenSSH", chain(good), pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte("x")}), "is one of OpenSSH's; convert it"},
		{"another key", chain(good), pkcs8(t, other), "the key does not belong to the certificate"},
		{"a short RSA key", chain(issue(t, nil, "x", short, "a")), pkcs8(t, short), "an RSA key of 1024 bits is too short; use"},
		{"Ed25519", chain(issue(t, nil, "x", edwards, "a")), pkcs8(t, edwards), "Ed25519 keys are not supported; use"},
		{"P-224", chain(issue(t, nil, "x", p224, "a")), pkcs8(t, p224), "keys on the curve P-224 are not supported; use"},
		{"too large", bytes.Repeat([]byte("x"), certificate.MaxSize+1), pkcs8(t, key), "the chain is larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, fault := certificate.Parse(c.chain, c.key)
			if got != nil || !strings.Contains(fault, c.want) {
				t.Errorf("fault %q, want %q", fault, c.want)
			}
			if strings.Contains(fault, "hunter2") {
				t.Error("it tells the key")
			}
		})
	}
}

func TestTheOrderOfAChainIsMended(t *testing.T) {
	root := issue(t, nil, "root", ecKey(t, elliptic.P256()))
	middle := issue(t, root, "middle", ecKey(t, elliptic.P384()))
	stray := issue(t, nil, "stray", ecKey(t, elliptic.P256()))
	leaf := issue(t, middle, "leaf", ecKey(t, elliptic.P521()), "shop.test")
	for _, given := range [][]*link{{leaf, middle, root, stray}, {stray, root, middle, leaf}, {middle, stray, leaf, root}} {
		got, fault := certificate.Parse(chain(given...), pkcs8(t, leaf.key))
		if fault != "" {
			t.Fatal(fault)
		}
		if want := chain(leaf, middle, root, stray); !bytes.Equal(got.Chain, want) {
			t.Errorf("the chain is\n%s\nwant\n%s", got.Chain, want)
		}
		if _, err := tls.X509KeyPair(got.Chain, got.Key.Reveal()); err != nil {
			t.Error(err)
		}
		if got.Serial != "abc" || !got.NotAfter.Equal(now.Add(time.Hour)) {
			t.Errorf("serial %s, until %s", got.Serial, got.NotAfter)
		}
	}
}

func TestKeysOfAllForms(t *testing.T) {
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	short := ecKey(t, elliptic.P256())
	sec1, err := x509.MarshalECPrivateKey(short.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8}})
	for name, c := range map[string]struct {
		key crypto.Signer
		pem []byte
	}{
		"PKCS 1":                  {long, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(long)})},
		"PKCS 8":                  {long, pkcs8(t, long)},
		"SEC 1":                   {short, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})},
		"SEC 1 behind parameters": {short, append(parameters, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)},
	} {
		got, fault := certificate.Parse(chain(issue(t, nil, "x", c.key, "shop.test")), c.pem)
		if fault != "" {
			t.Errorf("%s: %s", name, fault)
			continue
		}
		if _, err := tls.X509KeyPair(got.Chain, got.Key.Reveal()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What can mean one thing only is read, and served in its one spelling.
func TestForgivenForms(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	root := issue(t, nil, "root", ecKey(t, elliptic.P256()))
	leaf := issue(t, root, "leaf", key, "shop.test")
	plain, mark := chain(leaf, root), []byte("\ufeff")
	for name, c := range map[string]struct{ chain, key []byte }{
		"byte order marks":       {append(mark, plain...), append(mark, pkcs8(t, key)...)},
		"no line break between":  {append(bytes.TrimSpace(chain(leaf)), chain(root)...), pkcs8(t, key)},
		"line ends of Windows":   {bytes.ReplaceAll(plain, []byte("\n"), []byte("\r\n")), bytes.ReplaceAll(pkcs8(t, key), []byte("\n"), []byte("\r\n"))},
		"one file for all":       {append(plain, pkcs8(t, key)...), append(plain, pkcs8(t, key)...)},
		"indented":               {bytes.ReplaceAll(plain, []byte("\n"), []byte("\n  ")), pkcs8(t, key)},
		"old name of that block": {bytes.ReplaceAll(plain, []byte(" CERTIFICATE"), []byte(" X509 CERTIFICATE")), pkcs8(t, key)},
	} {
		got, fault := certificate.Parse(c.chain, c.key)
		if fault != "" {
			t.Errorf("%s: %s", name, fault)
		} else if !bytes.Equal(got.Chain, plain) || !bytes.Equal(got.Key.Reveal(), pkcs8(t, key)) {
			t.Errorf("%s: the chain is\n%s", name, got.Chain)
		}
	}
}

func TestCovers(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	c, fault := certificate.Parse(chain(issue(t, nil, "common.test", key, "Shop.test", "*.shop.test")), pkcs8(t, key))
	if fault != "" {
		t.Fatal(fault)
	}
	for host, want := range map[string]bool{
		"shop.test": true, "SHOP.test": true, "a.shop.test": true, "*.shop.test": true,
		"a.b.shop.test": false, "*.a.shop.test": false, "*.test": false, "test": false, "common.test": false, "": false, "ashop.test": false,
	} {
		if got := c.Covers(host); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
}

func TestValidAt(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	c, fault := certificate.Parse(chain(issue(t, nil, "x", key, "shop.test")), pkcs8(t, key))
	if fault != "" {
		t.Fatal(fault)
	}
	for at, want := range map[time.Time]string{
		now:                     "",
		now.Add(2 * time.Hour):  "the certificate expired on 2026-11-23T13:00:00Z",
		now.Add(-2 * time.Hour): "the certificate is not valid before 2026-11-23T11:00:00Z",
	} {
		if got := c.ValidAt(at); got != want {
			t.Errorf("at %s: %q, want %q", at, got, want)
		}
	}
}

func TestSelfSignedIsForNobody(t *testing.T) {
	c, err := certificate.SelfSigned(now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if c.Names() != "no name" || c.ValidAt(now) != "" {
		t.Errorf("for %s, %s", c.Names(), c.ValidAt(now))
	}
	if text := fmt.Sprintf("%+v %#v", c, c); strings.Contains(text, "PRIVATE") || strings.Contains(text, fmt.Sprintf("%d", c.Key.Reveal()[:8])) {
		t.Error("its key shows")
	}
}
