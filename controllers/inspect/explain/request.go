package explain

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/fairwaynet/fairway/xds/route"
)

// maxURL bounds a URL in bytes. Gateways take less.
const maxURL = 64 << 10

// Request is what a client sends for a URL.
type Request struct {
	Scheme    string // "http" or "https"
	Authority string
	Target    string
	Method    string
	Length    int64 // of the body; 0: none

	server string // of the URL, if a header names another host
	// The path, or the query, of the URL has characters that only some clients
	// escape.
	rawPath, rawQuery bool
}

// ParseURL returns the request for a URL; a URL without a scheme is for http. It
// changes the path only as clients do: they leave out the fragment, and escape
// what a request line cannot hold.
func ParseURL(text string) (Request, error) {
	if len(text) > maxURL {
		return Request{}, fmt.Errorf("the URL has %d bytes, more than %d", len(text), maxURL)
	}
	scheme, rest, found := strings.Cut(text, "://")
	if !found || strings.ContainsAny(scheme, "/?#") {
		scheme, rest = "http", text
	}
	request := Request{Method: http.MethodGet}
	switch strings.ToLower(scheme) {
	case "http", "ws":
		request.Scheme = "http"
	case "https", "wss":
		request.Scheme = "https"
	default:
		return Request{}, fmt.Errorf("the scheme %q is neither http nor https", scheme)
	}
	rest, _, _ = strings.Cut(rest, "#")
	authority, target := rest, "/"
	if end := strings.IndexAny(rest, `/?\`); end >= 0 {
		authority, target = rest[:end], rest[end:]
	}
	if target[0] != '/' {
		target = "/" + target
	}
	// Clients send user and password in a header.
	request.Authority = authority[strings.LastIndexByte(authority, '@')+1:]
	request.Target = escaped(target)
	path, query, _ := strings.Cut(target, "?")
	request.rawPath, request.rawQuery = isRaw(path), isRaw(query)
	return request, request.checkHost()
}

// isRaw reports whether text has letters beyond ASCII.
func isRaw(text string) bool {
	return strings.ContainsFunc(text, func(c rune) bool { return c > 0x7f })
}

// unescaped says what happens to the letters beyond ASCII in the URL; empty: it
// has none.
func (r Request) unescaped() string {
	over := ""
	switch {
	case r.rawQuery:
	case r.rawPath:
		over = " over HTTP/1.1"
	default:
		return ""
	}
	return "letters beyond ASCII are escaped, as browsers do; sent as they are" + over + ", as curl does, they are answered 400: " + r.Target
}

func (r Request) checkHost() error {
	switch {
	case r.Authority == "":
		return errors.New("the URL names no host")
	case isRaw(r.Authority):
		return errors.New("write an international name in its ASCII form (xn--…), as clients send it")
	case strings.HasPrefix(r.Authority, "*"):
		return fmt.Errorf("%q is a pattern: ask for a name that it covers, as clients do", r.Authority)
	default:
		return nil
	}
}

// AddHeader takes a header of the request. Only two headers matter for its way:
// Host and Content-Length.
func (r *Request) AddHeader(header string) error {
	name, value, found := strings.Cut(header, ":")
	value = strings.TrimSpace(value)
	if !found {
		return fmt.Errorf("%q is no header: write it as \"Name: value\"", header)
	}
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "host":
		r.server, r.Authority = cmp.Or(r.server, r.Authority), value
		return r.checkHost()
	case "content-length":
		length, err := strconv.ParseInt(value, 10, 64)
		if err != nil || length < 0 {
			return fmt.Errorf("Content-Length %q is no number of bytes", value)
		}
		r.Length = length
	}
	return nil
}

// String returns the URL.
func (r Request) String() string { return r.Scheme + "://" + r.Authority + r.Target }

// serverName returns the server name that a client sends in a TLS handshake: the
// host of the URL. sent is false if that is an IP address. ok is false for a host
// to which no client can connect.
func (r Request) serverName() (name route.Hostname, sent, ok bool) {
	name, ok = route.HostOf(cmp.Or(r.server, r.Authority))
	_, err := netip.ParseAddr(strings.Trim(string(name), "[]"))
	return name, ok && err != nil, ok
}

// anew returns the request of a client that was redirected to HTTPS: it connects
// to the host of the redirect.
func (r Request) anew() Request {
	r.Scheme, r.server = "https", ""
	return r
}

func (r Request) sent() route.Request {
	return route.Request{Authority: r.Authority, Target: r.Target, Method: r.Method, Length: r.Length}
}

// secured returns the HTTPS URL to which the gateway redirects a client. A port
// that the client named is that of HTTP, so it is replaced. If the client named
// none, 443 is left out.
func (r Request) secured(port uint16, target string) string {
	authority, named := r.Authority, false
	if at := strings.LastIndexByte(authority, ':'); at >= 0 && strings.Trim(authority[at+1:], "0123456789") == "" {
		authority, named = authority[:at], true
	}
	if named || port != 443 {
		authority += ":" + strconv.Itoa(int(port))
	}
	return "https://" + authority + target
}

// escaped returns a target in which everything that a request line cannot hold is
// escaped, as clients do.
func escaped(target string) string {
	var out strings.Builder
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
