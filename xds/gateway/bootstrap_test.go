package gateway

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/test/tools"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// cases are bootstraps as the commands make them, by the name of their golden
// file. The TLS files are in the folder that is given.
func cases(dir string) map[string]Bootstrap {
	return map[string]Bootstrap{
		"unix": {
			Gateway: "default", Node: "laptop", Admin: dir + "/admin.sock",
			XDS: XDS{Socket: dir + "/xds.sock"}, ACME: []string{"unix:" + dir + "/acme.sock"},
		},
		"mutual-tls": {
			Gateway: "default", Node: "fairway-gateway-7x2kq", Admin: dir + "/admin.sock",
			XDS: XDS{Addresses: []string{"fairway-controller.fairway-system:8443"}, TLS: &TLS{
				CA: dir + "/ca.crt", Certificate: dir + "/tls.crt", Key: dir + "/tls.key",
				ServerName: "fairway-controller.fairway-system.svc",
			}},
			ACME:           []string{"fairway-controller.fairway-system:18001"},
			MaxConnections: 20_000, MaxHeapBytes: 512 << 20,
		},
		"several-controllers": {
			Gateway: "default", Node: "test", Admin: dir + "/admin.sock",
			XDS: XDS{Addresses: []string{"10.0.0.1:18000", "[fd00::1]:18000", "controller.test:18000"}},
		},
		"loopback": {
			Gateway: "default", Node: "test", Admin: dir + "/admin.sock",
			XDS: XDS{Addresses: []string{"127.0.0.1:18000"}},
		},
	}
}

func TestBootstrapGolden(t *testing.T) {
	const dir = "/run/fairway"
	for name, bootstrap := range cases(dir) {
		t.Run(name, func(t *testing.T) {
			message, err := bootstrap.Message(dir)
			if err != nil {
				t.Fatal(err)
			}
			text, err := render(message)
			if err != nil {
				t.Fatal(err)
			}
			got, err := yaml.JSONToYAML(text)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("run with -update if that is meant; -want +got:\n%s", diff)
			}
		})
	}
}

func TestEnvoyAcceptsTheBootstrap(t *testing.T) {
	envoy := tools.Path(t, "envoy")
	dir := t.TempDir()
	newAuthority(t).write(t, dir, "fairway")
	for name, bootstrap := range cases(dir) {
		t.Run(name, func(t *testing.T) {
			path, err := bootstrap.Write(dir)
			if err != nil {
				t.Fatal(err)
			}
			said, err := exec.Command(envoy, "--mode", "validate", "--config-path", path, "--log-level", "warning").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if text := strings.TrimSpace(string(said)); !strings.HasSuffix(text, "OK") || strings.Contains(text, "[warning]") {
				t.Errorf("Envoy says: %s", text)
			}
		})
	}
}

func TestTheFilesAreForThisUserOnly(t *testing.T) {
	dir := t.TempDir()
	if _, err := cases(dir)["mutual-tls"].Write(dir); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 4 {
		t.Fatalf("files %v, %v; want four", files, err)
	}
	for _, file := range files {
		info, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o", file.Name(), mode)
		}
	}
}

func TestAWrongBootstrapSaysWhy(t *testing.T) {
	long := "/" + strings.Repeat("a", 120)
	for _, test := range []struct {
		name, want string
		change     func(*Bootstrap)
	}{
		{"no gateway", "must be named", func(b *Bootstrap) { b.Gateway = "" }},
		{"no node", "must be named", func(b *Bootstrap) { b.Node = "" }},
		{"an admin socket too long", "107 bytes", func(b *Bootstrap) { b.Admin = long }},
		{"an xDS socket too long", "107 bytes", func(b *Bootstrap) { b.XDS.Socket = long }},
		{"no address", "no address", func(b *Bootstrap) { b.XDS = XDS{} }},
		{"half an address", "missing port", func(b *Bootstrap) { b.XDS = XDS{Addresses: []string{"controller"}} }},
		{"no port", "no host:port", func(b *Bootstrap) { b.XDS = XDS{Addresses: []string{"controller:https"}} }},
		{"no host", "no host:port", func(b *Bootstrap) { b.XDS = XDS{Addresses: []string{":18000"}} }},
		{"no UTF-8", "not UTF-8", func(b *Bootstrap) { b.Node = "\xff" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			bootstrap := cases("/run")["unix"]
			test.change(&bootstrap)
			_, err := bootstrap.Write(t.TempDir())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}
