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
// client sent; empty if nothing is. c is nil for one that no client has sent: it
// was within another.
func (r *received) broken(c *corpusCase) string {
	if c == nil {
		return fmt.Sprintf("its X-Real-Ip is %q", r.values("x-real-ip"))
	}
	for _, check := range []func() string{
		func() string { return r.forgedOrigin(c.way) },
		r.forbiddenFields, r.confusingPath,
	} {
		if wrong := check(); wrong != "" {
			return wrong
		}
	}
	return ""
}

// forgedOrigin is a client's word on where a request comes from.
func (r *received) forgedOrigin(by way) string {
	host := strings.Join(r.values("host"), ", ")
	scheme, port := "http", "8080"
	if by.tls {
		scheme, port = "https", "8443"
	}
	for name, want := range map[string]string{"x-forwarded-host": host, "x-forwarded-proto": scheme, "x-forwarded-port": port} {
		if got := r.values(name); len(got) != 1 || got[0] != want {
			return fmt.Sprintf("%s is %q, want %q", name, got, want)
		}
	}
	guarded := by.guarded && host == by.host
	if got := r.values("x-forwarded-client-cert"); len(got) > 1 || (len(got) == 1) != guarded || guarded && !strings.HasPrefix(got[0], "Hash=") {
		return fmt.Sprintf("x-forwarded-client-cert is %q", got)
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
			// A WebSocket is the only thing to which a connection is upgraded.
			if want := map[string]string{"connection": "upgrade", "upgrade": "websocket"}[name]; strings.ToLower(f.Value) != want {
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
