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

// Request is what a client sends when it is given a URL.
type Request struct {
	Scheme    string // "http" or "https"
	Authority string
	Target    string
	Method    string
	Length    int64 // of the body; 0: none

	server string // of the URL, if a header names another host
	// What only some clients escape stands in the path, or the query, of the URL.
	rawPath, rawQuery bool
}

// ParseURL is the request for a URL, without a scheme for http. The path is left
// as it is, but that clients leave out the fragment and escape what a request
// line cannot hold.
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

// unescaped says what becomes of the letters beyond ASCII in the URL; empty: it has
// none.
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

// AddHeader takes a header of the request. Of all headers, these decide what
// becomes of it: Host and Content-Length.
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

// String is the URL.
func (r Request) String() string { return r.Scheme + "://" + r.Authority + r.Target }

// serverName is what a client says in a TLS handshake: the host of the URL, unless
// that is an IP address. ok is false for a host that nobody can connect to.
func (r Request) serverName() (name route.Hostname, sent, ok bool) {
	name, ok = route.HostOf(cmp.Or(r.server, r.Authority))
	_, err := netip.ParseAddr(strings.Trim(string(name), "[]"))
	return name, ok && err != nil, ok
}

// anew is the request of a client that was sent to HTTPS: it connects to the host
// that it was sent to.
func (r Request) anew() Request {
	r.Scheme, r.server = "https", ""
	return r
}

func (r Request) sent() route.Request {
	return route.Request{Authority: r.Authority, Target: r.Target, Method: r.Method, Length: r.Length}
}

// secured is the URL of HTTPS to which the gateway sends a client. The port that
// the client named is that of HTTP, and does not stay; to a client that named
// none, 443 is not named.
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

// escaped is a target with what a request line cannot hold escaped, as clients
// do it.
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
