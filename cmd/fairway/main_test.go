package main

import (
	"os"
	"strings"
	"testing"
)

// asFairway in the environment makes the test binary behave as fairway itself, so
// that tests can run it as a separate process, as users do.
const asFairway = "FAIRWAY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asFairway) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// said is what a command wrote, and its exit code.
type said struct {
	Out, Err string
	Code     int
}

// ran runs a command inside the test.
func ran(t *testing.T, stdin string, args ...string) said {
	t.Helper()
	var out, err strings.Builder
	code := run(t.Context(), args, streams{In: strings.NewReader(stdin), Out: &out, Err: &err})
	return said{out.String(), err.String(), code}
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		code int
		err  string
	}{
		{"no such command", []string{"sreve"}, 2, "fairway: unknown command \"sreve\" for \"fairway\"\nSee 'fairway --help'.\n"},
		{"no such flag", []string{"version", "--loud"}, 2, "fairway: unknown flag: --loud\nSee 'fairway version --help'.\n"},
		{"an argument too many", []string{"version", "now"}, 2, "fairway: unknown command \"now\" for \"fairway version\"\nSee 'fairway version --help'.\n"},
		{"an argument too few", []string{"serve"}, 2, "fairway: give one folder, not 0\nSee 'fairway serve --help'.\n"},
		{"a wrong setting", []string{"serve", ".", "--address=here"}, 2, "fairway: --address: \"here\" is no IP address\nSee 'fairway serve --help'.\n"},
		{"a negative drain", []string{"serve", ".", "--drain=-1s"}, 2, "fairway: --drain: cannot be negative\nSee 'fairway serve --help'.\n"},
		{"a gateway without controllers", []string{"gateway"}, 2, "fairway: --xds: say where a controller is\nSee 'fairway gateway --help'.\n"},
		{"a gateway that cannot be", []string{"gateway", "--xds=localhost:1", "--gateway=A b"}, 2, "fairway: --gateway: is neither NAME nor NAMESPACE/NAME\nSee 'fairway gateway --help'.\n"},
		{"a file that is none of settings", []string{"serve", ".", "--config=/dev/zero"}, 2, "fairway: read --config: /dev/zero has more than 1048576 bytes: it cannot be a settings file\nSee 'fairway serve --help'.\n"},
		{"a controller elsewhere without TLS", []string{"gateway", "--xds=10.0.0.1:1"}, 2, "fairway: --xds: 10.0.0.1:1 is on another machine: give --tls-dir\nSee 'fairway gateway --help'.\n"},
		{"a heap in which nothing fits", []string{"gateway", "--xds=localhost:1", "--max-heap=1"}, 2, "fairway: --max-heap: must be at least 32Mi, which an Envoy that serves nothing needs, or 0 for no bound\nSee 'fairway gateway --help'.\n"},
		{"a folder without a name", []string{"serve", ""}, 2, "fairway: the folder has no name: it is an empty text, such as that of a variable which is not set\nSee 'fairway serve --help'.\n"},
		{"another output", []string{"check", ".", "-o", "yaml"}, 2, "fairway: --output: \"yaml\" is neither text nor json\nSee 'fairway check --help'.\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ran(t, "", test.args...)
			if got.Code != test.code || got.Err != test.err || got.Out != "" {
				t.Errorf("code %d, says %q and %q", got.Code, got.Err, got.Out)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if got, want := ran(t, "", "--version"), ran(t, "", "version"); got != want {
		t.Errorf("--version says %+v and version %+v", got, want)
	}
	if got := ran(t, "", "version"); got.Code != 0 || !strings.HasPrefix(got.Out, "fairway ") || !strings.Contains(got.Out, "linux/") {
		t.Errorf("says %+v", got)
	}
}
