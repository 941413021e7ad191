package strangers_test

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
)

// broken says what is wrong with a request that a backend got, whatever a
// client sent; empty if nothing is.
func (r *received) broken(cases []*corpusCase) string {
	for _, check := range []func() string{
		func() string { return r.unknownClient(cases) },
		r.forgedOrigin, r.forbiddenFields, r.confusingPath,
	} {
		if wrong := check(); wrong != "" {
			return wrong
		}
	}
	return ""
}

// unknownClient is a request that no connection to the gateway has made: it was
// within another.
func (r *received) unknownClient(cases []*corpusCase) string {
	ip := r.values("x-real-ip")
	if len(ip) != 1 || !slices.ContainsFunc(cases, func(c *corpusCase) bool { return c.client == ip[0] }) {
		return fmt.Sprintf("its X-Real-Ip is %q", ip)
	}
	return ""
}

// forgedOrigin is a client's word on where a request comes from.
func (r *received) forgedOrigin() string {
	host := strings.Join(r.values("host"), ", ")
	for name, want := range map[string]string{"x-forwarded-host": host, "x-forwarded-proto": "http", "x-forwarded-port": "8080"} {
		if got := r.values(name); len(got) != 1 || got[0] != want {
			return fmt.Sprintf("%s is %q, want %q", name, got, want)
		}
	}
	// To a client on the gateway's own loopback, Envoy gives the machine's address.
	for _, hops := range r.values("x-forwarded-for") {
		if _, err := netip.ParseAddr(hops); err != nil || strings.HasPrefix(hops, "203.0.113.") {
			return fmt.Sprintf("x-forwarded-for is %q", hops)
		}
	}
	if n := len(r.values("x-forwarded-for")); n != 1 {
		return fmt.Sprintf("%d x-forwarded-for", n)
	}
	return ""
}

// forbiddenFields are those that nobody but a gateway may say, that end at
// each hop, or that a backend could take for another.
func (r *received) forbiddenFields() string {
	for _, f := range r.Fields {
		name := strings.ToLower(f.Name)
		switch {
		case strings.HasPrefix(name, "x-envoy-"), strings.HasPrefix(name, "x-fairway-"), strings.Contains(name, "_"):
			return "it has " + f.Name
		case slices.Contains([]string{"forwarded", "keep-alive", "proxy-connection", "http2-settings", "expect"}, name):
			return "it has " + f.Name
		case name == "connection", name == "upgrade":
			if v := strings.ToLower(f.Value); v != "upgrade" && v != "websocket" {
				return fmt.Sprintf("%s is %q", f.Name, f.Value)
			}
		case name == "te" && f.Value != "trailers":
			return fmt.Sprintf("te is %q", f.Value)
		}
	}
	return ""
}

// confusingPath is one that has another meaning to a backend than it had to the
// gateway, which has sent it to the backend of that meaning.
func (r *received) confusingPath() string {
	if !strings.HasPrefix(r.Target, "/") {
		return "its target is no path"
	}
	sent, _, _ := strings.Cut(r.Target, "?")
	for _, meaning := range meanings(sent) {
		isAdmin := meaning == "/admin" || strings.HasPrefix(meaning, "/admin/")
		if isAdmin != (r.Backend == "admin") {
			return fmt.Sprintf("some backends take its path for %s", meaning)
		}
	}
	return ""
}

// meanings are what backends make of a path: as it is, with its escapes undone,
// and with dot segments resolved, where some take a backslash for a slash and
// what follows a semicolon for nothing if it follows dots.
func meanings(sent string) []string {
	decoded, err := url.PathUnescape(sent)
	if err != nil {
		decoded = sent
	}
	var all []string
	for _, text := range []string{sent, decoded} {
		slashed := strings.ReplaceAll(text, `\`, "/")
		var segments []string
		for _, s := range strings.Split(slashed, "/") {
			if dots, _, _ := strings.Cut(s, ";"); dots == "." || dots == ".." {
				s = dots
			}
			segments = append(segments, s)
		}
		ended, _, _ := strings.Cut(text, "\x00")
		all = append(all, text, path.Clean(slashed), path.Clean(strings.Join(segments, "/")), ended)
	}
	return all
}
