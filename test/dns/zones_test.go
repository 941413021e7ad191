package dns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// folder is a folder of zones, as a volume of a ConfigMap has them.
type folder string

func (f folder) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(f), name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// People's files add zones, names and stub domains. A mistake costs the file that has it, at the start
// and later.
func TestZonesOfPeople(t *testing.T) {
	c := startCluster(t)
	c.Kubectl(t, service("web", "10.96.1.1"), "apply", "-f", "-")
	f := folder(t.TempDir())
	stub := outside(t)
	f.write(t, "corp.server", "outside.test:PORT {\n  forward . "+stub.Address.String()+"\n}\n")
	f.write(t, "names.override", "hosts {\n  192.0.2.7 printer.test\n  fallthrough\n}\n")
	f.write(t, "own.db", "$ORIGIN own.test.\n@ 60 IN SOA ns me 1 60 60 60 60\nwww 60 IN A 192.0.2.8\n")
	f.write(t, "own.server", "own.test:PORT {\n  file "+filepath.Join(string(f), "own.db")+"\n}\n")
	f.write(t, "word.server", "bad.test:PORT {\n  nonsense\n}\n")
	f.write(t, "twice.server", "own.test:PORT {\n  hosts\n}\n")
	f.write(t, "brace.override", "}\nbrace.test:PORT {\n")
	f.write(t, "open.override", "rewrite {\n")
	f.write(t, "loop.override", "loop\n")
	s := startWith(t, f, func(args ...string) *server { return serve(t, c, args...) })
	for name, want := range map[string]string{
		"www.outside.test": "192.0.2.1", "printer.test": "192.0.2.7", "www.own.test": "192.0.2.8", "web.default.svc.cluster.local": "10.96.1.1",
	} {
		if got := s.says(name, dns.TypeA); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := s.metric("fairway_dns_files_refused"); got != "5" {
		t.Errorf("fairway_dns_files_refused is %q, want 5", got)
	}
	eventually(t, 10*time.Second, func() error {
		events := c.Kubectl(t, "", "-n", "kube-system", "get", "events", "-o", "jsonpath={range .items[*]}{.message}{'\\n'}{end}")
		for _, name := range []string{"word.server", "twice.server", "brace.override", "open.override", "loop.override"} {
			if !strings.Contains(events, "Left out: "+name+": ") {
				return fmt.Errorf("no event names %s:\n%s", name, events)
			}
		}
		return nil
	})

	t.Run("a change is taken within half a minute, and answers go on", func(t *testing.T) {
		f.write(t, "names.override", "hosts {\n  192.0.2.9 printer.test\n  fallthrough\n}\n")
		asked, lost := 0, 0
		eventually(t, 30*time.Second, func() error {
			if got := s.says("web.default.svc.cluster.local", dns.TypeA); got != "10.96.1.1" {
				t.Logf("a name of the cluster is %s", got)
				lost++
			}
			asked++
			if got := s.says("printer.test", dns.TypeA); got != "192.0.2.9" {
				return fmt.Errorf("printer.test is %s", got)
			}
			return nil
		})
		if lost > 0 {
			t.Errorf("%d of %d answers are missing", lost, asked)
		}
	})
}

// startWith starts a server with a folder. PORT in its files becomes the server's port: a cluster's is
// 53, which nobody writes.
func startWith(t *testing.T, f folder, start func(args ...string) *server) *server {
	t.Helper()
	s := start("--zones=" + string(f))
	s.Kill()
	entries, err := os.ReadDir(string(f))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(string(f), entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		f.write(t, entry.Name(), strings.ReplaceAll(string(content), "PORT", fmt.Sprint(s.port)))
	}
	again := start("--zones="+string(f), fmt.Sprintf("--port=%d", s.port))
	again.port = s.port
	return again.up(t)
}
