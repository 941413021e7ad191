package certificate_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/tls/certificate"
)

func TestClientAuthorities(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	one, two := issue(t, nil, "one", key), issue(t, nil, "two", key)
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
		{"no PEM", []byte("nothing"), "the certificate is not PEM"},
		{"a key", pkcs8(t, key), "no readable PEM block of type CERTIFICATE"},
		{"a damaged second one", append(chain(one), broken...), "certificate 2 of the chain cannot be read"},
		{"one that may not sign", chain(one, leaf), `certificate 2 ("CN=leaf") is not that of an authority`},
		{"too much", bytes.Repeat(chain(one), 1+certificate.MaxSize/len(chain(one))), "the chain is larger than"},
	} {
		a, fault := certificate.ParseClientAuthorities(c.text)
		if c.want == "" && (fault != "" || !strings.HasPrefix(string(a.PEM), "-----BEGIN CERTIFICATE")) || !strings.Contains(fault, c.want) {
			t.Errorf("%s: %+v, %q, want %q", c.name, a, fault, c.want)
		}
	}
	a, _ := certificate.ParseClientAuthorities(append(chain(one, two, one), pkcs8(t, key)...))
	if !bytes.Equal(a.PEM, chain(one, two)) {
		t.Errorf("two authorities are %s", a.PEM)
	}
	if a.ExpiredAt(now) != "" || !strings.Contains(a.ExpiredAt(now.Add(2*time.Hour)), "2026-11-23T13:00:00Z") {
		t.Errorf("expired: %q, %q", a.ExpiredAt(now), a.ExpiredAt(now.Add(2*time.Hour)))
	}
}
