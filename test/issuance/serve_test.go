package issuance_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/test/acme"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/tools"
)

// Without a cluster it is the same, with files in place of Secrets. What was
// ordered once is there after a restart.
func TestServe(t *testing.T) {
	authority := acme.Start(t, acme.Options{HTTPPort: 8080, TLSPort: 8443})
	s := &scene{authority: authority, roots: authority.Roots(t)}
	folder, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	write(t, filepath.Join(folder, "shop.yaml"), fmt.Sprintf(`
apiVersion: fairway.dev/v1alpha1
kind: Issuer
metadata: {name: pebble}
spec:
  directory: %s
  termsAgreed: true
  profile: shortlived
  caBundle: |
    %s
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, annotations: {fairway.dev/issuer: pebble}}
spec:
  tls: [{hosts: [shop.test], secretName: shop-tls}]
  rules: [{host: shop.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{port: 80}]}
`, authority.Directory, strings.ReplaceAll(strings.TrimSpace(string(authority.CA)), "\n", "\n    ")))
	// Without a place to keep keys nothing is ordered, and that is said.
	idle := s.serve(t, folder, "")
	fairway.Eventually(t, patience, func(context.Context) error {
		if said := idle.Log(); !strings.Contains(said, "give --state a folder") || !strings.Contains(said, "serving "+folder) {
			return fmt.Errorf("serve without --state says:\n%s", said)
		}
		return nil
	})
	if err := idle.Stop(t, patience); err != nil {
		t.Errorf("serve ends with %v", err)
	}
	program := s.serve(t, folder, state)
	serial := s.issued(t, "shop.test")
	fairway.Eventually(t, patience, func(context.Context) error {
		for _, want := range []string{"has issued a certificate for shop.test", "mended:"} {
			if said := program.Log(); !strings.Contains(said, want) {
				return fmt.Errorf("serve does not say %q:\n%s", want, said)
			}
		}
		return nil
	})
	files, err := filepath.Glob(filepath.Join(state, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.Name())
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s is of mode %o", path, mode)
		}
	}
	if want := "[.lock default.shop-tls.yaml fairway-system.fairway-account-pebble.yaml]"; fmt.Sprint(names) != want {
		t.Errorf("the folder has %v, want %s", names, want)
	}
	if err := program.Stop(t, patience); err != nil {
		t.Errorf("serve ends with %v", err)
	}
	s.serve(t, folder, state)
	if again := s.issued(t, "shop.test"); again != serial || authority.Orders() != 1 {
		t.Errorf("after a restart the serial is %s, not %s, after %d orders", again, serial, authority.Orders())
	}
}

// serve runs fairway serve until the test ends.
func (s *scene) serve(t *testing.T, folder, state string) *fairway.Program {
	t.Helper()
	return fairway.Fairway(t, "serve", nil, "serve", folder, "--state", state, "--address", "127.0.0.1", "--access-log=false",
		"--envoy", tools.Path(t, "envoy"), "--acme-resolver", s.authority.DNS)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
