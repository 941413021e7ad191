package corefile

import (
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func settings() Settings {
	return Settings{Domain: "cluster.local", Port: 53, Health: ":8080", Ready: ":8181", Metrics: ":9153", Lameduck: 10 * time.Second}
}

func TestText(t *testing.T) {
	full := settings()
	full.Upstreams = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:5353")}
	full.Kubeconfig, full.Log = "/etc/kubeconfig", true
	full.Overrides = []File{{"names.override", "hosts {\n  192.0.2.7 printer.test\n  fallthrough\n}\n"}}
	full.Servers = []File{{"corp.server", "corp.test:53 {\n  forward . 192.0.2.9\n}"}}
	for name, s := range map[string]Settings{"least": settings(), "full": full} {
		t.Run(name, func(t *testing.T) {
			path, got := "testdata/"+name+".corefile", Text(s)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("run with -update if this is meant:\n%s", got)
			}
			if err := s.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What Validate accepts cannot end a word or a line of the text.
func TestSettingsThatCannotWork(t *testing.T) {
	for name, change := range map[string]func(*Settings){
		"domain":     func(s *Settings) { s.Domain = "cluster.local {" },
		"domain \"":  func(s *Settings) { s.Domain = "" },
		"port":       func(s *Settings) { s.Port = 0 },
		"health":     func(s *Settings) { s.Health = ":8080\nlog" },
		"ready":      func(s *Settings) { s.Ready = "example.test:80" },
		"metrics":    func(s *Settings) { s.Metrics = "" },
		"lameduck":   func(s *Settings) { s.Lameduck = -1 },
		"upstream":   func(s *Settings) { s.Upstreams = []netip.AddrPort{{}} },
		"kubeconfig": func(s *Settings) { s.Kubeconfig = "/etc/a\"b" },
	} {
		s := settings()
		change(&s)
		word, _, _ := strings.Cut(name, " ")
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseUpstream(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.53": "192.0.2.53:53", "192.0.2.53:5353": "192.0.2.53:5353", "2001:db8::53": "[2001:db8::53]:53", "[2001:db8::53]:5353": "[2001:db8::53]:5353",
		"fe80::1%eth0": "[fe80::1%eth0]:53",
	} {
		if got, err := ParseUpstream(text); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "dns.test", "dns.test:53", "192.0.2.53:0", "192.0.2.53:", "192.0.2.256"} {
		if got, err := ParseUpstream(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}
