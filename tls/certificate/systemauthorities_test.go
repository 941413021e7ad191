package certificate_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/tls/certificate"
)

func TestSystemAuthoritiesAreThoseOfTheEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "roots.pem")
	getenv := func(name string) string { return map[string]string{"SSL_CERT_FILE": file}[name] }
	var faults []string
	read := func() []byte {
		faults = nil
		return certificate.SystemAuthorities(getenv, func(of, fault string) { faults = append(faults, of+": "+fault) })
	}
	if got := read(); got == nil || len(got) > 0 || len(faults) > 0 {
		t.Errorf("without the file: %q, %q", got, faults)
	}
	made, err := certificate.SelfSigned(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		text   []byte
		usable bool
	}{{"a certificate", made.Chain, true}, {"no certificate", []byte("roots"), false}} {
		if err := os.WriteFile(file, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := read(); got == nil || len(got) > 0 != test.usable || len(faults) == 0 != test.usable {
			t.Errorf("%s: %q, %q", test.name, got, faults)
		}
	}
}
