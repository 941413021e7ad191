package ingress_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/test/fairway"
)

// curl is a client with a TLS library that is not Go's, which verifies what it
// is shown.
type curl struct {
	path  string
	roots string // file
}

func newCurl(s *site, authority *fairway.Authority) *curl {
	s.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		s.Fatal("curl is missing: install it (Debian: apt-get install curl)")
	}
	c := &curl{path: path, roots: filepath.Join(s.TempDir(), "roots.pem")}
	if err := os.WriteFile(c.roots, authority.PEM(), 0o600); err != nil {
		s.Fatal(err)
	}
	return c
}

// untrusted is curl's exit code for a certificate that it does not trust.
const untrusted = 60

// get asks for a URL of port 80 or 443 and returns the status, the protocol and
// the backend, or curl's exit code.
func (c *curl) get(ctx context.Context, url string, flags ...string) (string, int, error) {
	command := exec.CommandContext(ctx, c.path, slices.Concat([]string{
		"--silent", "--show-error", "--output", "/dev/null", "--max-time", "5", "--noproxy", "*", "--cacert", c.roots,
		"--connect-to", ":80:127.0.0.1:8080", "--connect-to", ":443:127.0.0.1:8443",
		"--write-out", "%{http_code} %{http_version} %header{backend}", url,
	}, flags)...)
	var complaint bytes.Buffer
	command.Stderr = &complaint
	said, err := command.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", exit.ExitCode(), nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("curl: %w: %s", err, &complaint)
	}
	return strings.TrimSpace(string(said)), 0, nil
}

// curl verifies the certificate of exact and wildcard hosts, with each version
// of TLS and of HTTP, follows the redirect, and refuses what nobody vouches for.
func testCurl(s *site, authority *fairway.Authority) {
	s.backends("shop", "wild", "rest")
	secret := authority.Secret(s, "curl", fairway.Wish{Names: []string{"curl.test"}, RSA: true})
	wildcard := authority.Secret(s, "curls", fairway.Wish{Names: []string{"*.curl.test"}})
	s.create(secret, wildcard,
		overTLS(withRules("curl", rule("curl.test", "/", "shop")), "curl", "curl.test"),
		overTLS(withRules("curls", rule("*.curl.test", "/", "wild")), "curls", "*.curl.test"),
		overTLS(withRules("bare", rule("bare.test", "/", "rest")), "", "bare.test"),
	)
	fairway.Eventually(s, patience, fairway.Presents("curl.test", secret))
	fairway.Eventually(s, patience, fairway.Presents("a.curl.test", wildcard))
	fairway.Eventually(s, patience, fairway.PresentsDefault("bare.test"))
	fairway.Eventually(s, patience, fairway.Status("curl.test", "/", 308))
	client := newCurl(s, authority)
	for _, test := range []struct {
		url   string
		flags string
		want  string
		exit  int
	}{
		{url: "https://curl.test/", flags: "--http1.1", want: "200 1.1 shop"},
		{url: "https://curl.test/", flags: "--http2", want: "200 2 shop"},
		{url: "https://curl.test/", flags: "--tlsv1.2 --tls-max 1.2", want: "200 2 shop"},
		{url: "https://curl.test/", flags: "--tlsv1.3", want: "200 2 shop"},
		{url: "https://a.curl.test/", want: "200 2 wild"},
		{url: "https://A.CURL.test/", want: "200 2 wild"},
		{url: "http://curl.test/x", flags: "--location", want: "200 2 shop"},
		{url: "http://curl.test/x", want: "308 1.1"},
		{url: "https://bare.test/", exit: untrusted},
		{url: "https://bare.test/", flags: "--insecure", want: "200 2 rest"},
	} {
		got, exit, err := client.get(s.Context(), test.url, strings.Fields(test.flags)...)
		if err != nil || got != test.want || exit != test.exit {
			s.Errorf("curl %s %s: %q, exit code %d, %v; want %q, %d", test.flags, test.url, got, exit, err, test.want, test.exit)
		}
	}
}
