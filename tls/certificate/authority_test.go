package certificate

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"
)

func FuzzParseAuthorities(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		certificates, fault := ParseAuthorities(text)
		if (fault == "") != (len(certificates) > 0) {
			t.Fatalf("%d bytes, and %q", len(certificates), fault)
		}
		if fault != "" {
			return
		}
		again, fault := ParseAuthorities(certificates)
		if fault != "" || string(again) != string(certificates) {
			t.Fatalf("what was read cannot be read again: %q", fault)
		}
	})
}

func TestTooManyAuthorities(t *testing.T) {
	self, err := SelfSigned(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	most := strings.Repeat(string(self.Chain), maxAuthorities)
	if got, fault := ParseAuthorities([]byte(most)); fault != "" || string(got) != most {
		t.Errorf("%d: %q", maxAuthorities, fault)
	}
	if _, fault := ParseAuthorities([]byte(most + string(self.Chain))); fault == "" {
		t.Error("one more is taken")
	}
}
