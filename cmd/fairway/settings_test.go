package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/xds/route"
)

// parsed parses a command line and, if not empty, a file.
func parsed(t *testing.T, file string, args ...string) (*settings, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if file != "" {
		if err := os.WriteFile("fairway.yaml", []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", "fairway.yaml")
	}
	s := newSettings(route.DefaultSettings())
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s.bind(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return s, s.load(flags)
}

func TestSettingsAreValidByDefault(t *testing.T) {
	s, err := parsed(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(route.DefaultSettings(), s.Route); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAFlagWinsOverTheFileAndTheFileOverTheDefault(t *testing.T) {
	s, err := parsed(t, "http-port: 81\nidle-timeout: 30s\nmax-request-body: 10Mi\naccess-log: false\nverbose: 2\n", "--http-port=82")
	if err != nil {
		t.Fatal(err)
	}
	want := route.DefaultSettings()
	want.HTTPPort, want.IdleTimeout, want.MaxRequestBody, want.AccessLog = 82, 30*time.Second, 10<<20, false
	if diff := cmp.Diff(want, s.Route); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if s.Verbosity != 2 {
		t.Errorf("verbosity %d, want 2", s.Verbosity)
	}
}

func TestWrongSettingsSayWhereAndWhat(t *testing.T) {
	for _, test := range []struct {
		name, file string
		args       []string
		want       string
	}{
		{"an unknown name", "# ours\nhtp-port: 80\n", nil, `fairway.yaml:2: unknown setting "htp-port"; did you mean "http-port"?`},
		{"another spelling", "httpPort: 80\n", nil, `fairway.yaml:1: unknown setting "httpPort"; did you mean "http-port"?`},
		{"nothing like it", "colour: red\n", nil, `fairway.yaml:1: unknown setting "colour"`},
		{"a file in a file", "config: other.yaml\n", nil, `fairway.yaml:1: unknown setting "config"`},
		{"no number", "http-port: http\n", nil, `fairway.yaml:1: http-port: "http": must be a port, from 1 to 65535`},
		{"too great a number", "http-port: 65536\n", nil, `fairway.yaml:1: http-port: "65536": must be a port, from 1 to 65535`},
		{"no duration", "address: '::'\nidle-timeout: soon\n", nil, `fairway.yaml:2: idle-timeout: "soon": must be a duration like "30s" or "5m"`},
		{"a list", "address: [a, b]\n", nil, `fairway.yaml:1: address: want one value, have 2`},
		{"an object", "address: {a: b}\n", nil, `fairway.yaml:1: "address" wants a plain value`},
		{"twice", "http-port: 1\nhttp-port: 2\n", nil, `fairway.yaml:2: key "http-port" already set in map`},
		{"no YAML", "a: b: c\n", nil, `fairway.yaml:1: mapping values are not allowed in this context`},
		{"a bad value in the file", "\naddress: localhost\n", nil, `fairway.yaml:2: address: "localhost" is no IP address`},
		{"a bad value on the command line", "", []string{"--address=localhost"}, `--address: "localhost" is no IP address`},
		{"a bad size", "", []string{"--max-request-body=lots"}, `must be a size such as 512Ki or 10Mi`},
		{"too large headers", "", []string{"--max-response-headers=8193"}, `--max-response-headers: 8193 is not between 1 and 8192 KiB`},
		{"too many headers", "max-response-header-count: 0\n", nil, `fairway.yaml:1: max-response-header-count: 0 is not between 1 and 10000`},
		{"a bad choice", "", []string{"--escaped-slashes=reject"}, `--escaped-slashes: "reject" is none of Redirect, Reject, Keep`},
		{"a bad choice for Server", "", []string{"--server-header=none"}, `--server-header: "none" is none of IfAbsent, PassThrough, Remove`},
		{"a bad port", "https-redirect-port: 65536\n", nil, `fairway.yaml:1: https-redirect-port: "65536": must be a port, from 1 to 65535, or 0 for none`},
		{"a bad log format", "", []string{"--log-format=xml"}, `--log-format: "xml" is neither text nor json`},
		{"a bad metrics address", "", []string{"--metrics-address=9090"}, `--metrics-address: "9090" is no host:port`},
		{"everything at once", "connect-timeout: -1s\nidle-timeout: 0s\n", nil, "fairway.yaml:2: idle-timeout: must be more than 0\nfairway.yaml:1: connect-timeout: cannot be negative"},
		{"no file", "", []string{"--config=absent.yaml"}, `read --config: open absent.yaml: no such file or directory`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parsed(t, test.file, test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

func TestTheOldNameOfAFlagIsUnderstood(t *testing.T) {
	for _, c := range []struct{ file, flag string }{{"https-redirect-port: 4443\n", ""}, {"", "--https-redirect-port=4443"}, {"public-https-port: 4443\n", ""}} {
		var args []string
		if c.flag != "" {
			args = append(args, c.flag)
		}
		s, err := parsed(t, c.file, args...)
		if err != nil || s.Route.Public != (route.PublicPorts{HTTPS: 4443}) {
			t.Errorf("%+v: %v, %v", c, s, err)
		}
	}
}

func TestAnEmptyFileSetsNothing(t *testing.T) {
	if _, err := parsed(t, "# nothing yet\n"); err != nil {
		t.Error(err)
	}
}
