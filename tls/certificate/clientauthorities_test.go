package certificate_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/tls/certificate"
)

func TestClientAuthorities(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	one, two := issue(t, nil, "one", key), issue(t, nil, "two", key)
	second := fmt.Sprint(1 + bytes.Count(chain(one), []byte("\n"))) // the line of what stands behind it
	leaf := issue(t, one, "leaf", key, "shop.test")
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no DER")})
	for _, c := range []struct {
		name string
		text []byte
		want string // what is wrong
	}{
		{"one", chain(one), ""},
		{"two, with words in between", append(append([]byte("one\n"), chain(one)...), append([]byte("two\n"), chain(two)...)...), ""},
		{"the same twice", chain(one, one), ""},
		{"nothing", nil, "there is no certificate in it"},
		{"no PEM", []byte("nothing"), "it is not PEM"},
		{"a key", pkcs8(t, key), "block 1 (line 1) is a private key, not a certificate"},
		{"a damaged second one", append(chain(one), broken...), "block 2 (line " + second + ") cannot be read as a certificate"},
		{"a second one that is cut off", append(chain(one), chain(two)[:200]...), "block 2 (CERTIFICATE, line " + second + ") has no line -----END CERTIFICATE-----"},
		{"a revocation list", append(chain(one), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")})...), "block 2 (line " + second + ") is a revocation list (X509 CRL), not a certificate"},
		{"a key beside it", append(chain(one), pkcs8(t, key)...), "block 2 (line " + second + ") is a private key, not a certificate"},
		{"one that may not sign", chain(one, leaf), `certificate 2 ("CN=leaf") is not that of an authority`},
		{"too much", bytes.Repeat(chain(one), 1+certificate.MaxSize/len(chain(one))), "it is larger than"},
	} {
		a, fault := certificate.ParseClientAuthorities(c.text)
		if c.want == "" && (fault != "" || !strings.HasPrefix(string(a.PEM), "-----BEGIN CERTIFICATE")) || !strings.Contains(fault, c.want) {
			t.Errorf("%s: %+v, %q, want %q", c.name, a, fault, c.want)
		}
	}
	a, _ := certificate.ParseClientAuthorities(chain(one, two, one))
	if !bytes.Equal(a.PEM, chain(one, two)) {
		t.Errorf("two authorities are %s", a.PEM)
	}
	if a.ExpiredAt(now) != "" || !strings.Contains(a.ExpiredAt(now.Add(2*time.Hour)), "2026-11-23T13:00:00Z") {
		t.Errorf("expired: %q, %q", a.ExpiredAt(now), a.ExpiredAt(now.Add(2*time.Hour)))
	}
}
