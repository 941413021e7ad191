package route

import (
	"net/http"
	"slices"
	"strings"
)

// Request is the parts of a request that decide its route, as the client sent them.
type Request struct {
	Authority string // "shop.test:8080"
	Target    string // path and query: "/cart?id=1"
	Method    string
	// Length is the Content-Length; 0 when there is none.
	Length int64
}

// RequestPath is the target of a request as a gateway normalises it before it looks for
// a route, as Envoy does it.
type RequestPath struct {
	// Path is the path in normal form, which is compared with those of routes
	// and forwarded; Query is what follows it, with its "?".
	Path, Query string
	// Repeated is the path with its repeated slashes; empty: it has none. Routes that
	// keep repeated slashes forward it in place of Path.
	Repeated string
	// Status is 0, or the answer that ends the request here; a redirect leads
	// to Path and Query.
	Status int
	// Steps tell people what was changed, and why the request ends here.
	Steps []string
}

// PathOf normalises the target of a request.
func (s Settings) PathOf(target string) RequestPath {
	path, query, found := strings.Cut(target, "?")
	if found {
		query = "?" + query
	}
	p := RequestPath{Path: path, Query: query}
	if wrong := illegal(target); wrong != "" {
		return p.end(http.StatusBadRequest, wrong)
	}
	redirect := false
	if plain := unescapeSlashes(path); plain != path {
		switch s.EscapedSlashes {
		case EscapedSlashesReject:
			return p.end(http.StatusBadRequest, "the path holds an escaped slash, which this gateway refuses")
		case EscapedSlashesKeep:
			p.note("the escaped slash in the path is kept")
		default:
			redirect = true
			p.change(plain, "slashes in the path are unescaped")
		}
	}
	normal, ok := canonical(p.Path)
	if !ok {
		return p.end(http.StatusBadRequest, "the path holds an escaped NUL")
	}
	p.change(normal, "the path is brought to normal form")
	if redirect {
		if strings.HasPrefix(p.Path, "//") { // to which a client would add a scheme
			p.change("/."+p.Path, "the path is written so that it is not read as another host")
		}
		return p.end(http.StatusTemporaryRedirect, "answered 307: the client is sent to "+p.Path+p.Query)
	}
	if merged := mergeSlashes(p.Path); merged != p.Path {
		p.Repeated = p.Path
		p.change(merged, "repeated slashes are merged")
	}
	if hasDotsWithParameters(p.Path) {
		return p.end(http.StatusForbidden, "a segment of dots with parameters could climb in some backends")
	}
	return p
}

func (p *RequestPath) note(text string) { p.Steps = append(p.Steps, text) }

func (p *RequestPath) change(path, why string) {
	if path != p.Path {
		p.Path = path
		p.note(why + ": " + path)
	}
}

func (p RequestPath) end(status int, why string) RequestPath {
	p.Status = status
	p.note(why)
	return p
}

// illegal tells people why the gateway refuses to read a target; empty: it reads it.
func illegal(target string) string {
	if !strings.HasPrefix(target, "/") {
		return `the path does not begin with "/"`
	}
	for i := range len(target) {
		switch c := target[i]; {
		case c == '#':
			return `the path holds "#", which clients do not send`
		case c <= ' ' || c >= 0x7f:
			return "the URL holds a space, a control character or a letter beyond ASCII, which clients escape"
		}
	}
	return ""
}

// isMethod reports whether a method is a token (RFC 9110, section 5.6.2), so that
// a gateway reads it. The empty one stands for GET.
func isMethod(method string) bool {
	return strings.Trim(method, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

// isRefused reports whether a gateway refuses a method, whatever the host.
func isRefused(method string) bool {
	return strings.EqualFold(method, http.MethodConnect) || strings.EqualFold(method, http.MethodTrace)
}

// unescapeSlashes takes escapes from slashes and backslashes.
func unescapeSlashes(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	return strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", `\`, "%5c", `\`).Replace(path)
}

// canonical is the path without dot segments, and with every character in its
// one spelling (RFC 3986, section 6.2.2). It is not ok with an escaped NUL.
func canonical(path string) (string, bool) {
	var out []string
	for rest := path; rest != ""; {
		slash := rest[0] // or a backslash, which becomes one
		segment := segmentOf(rest[1:], slash)
		rest = rest[1+len(segment):]
		dots := dotsOf(segment, slash)
		if dots == "" {
			spelled, ok := spelledOnce(segment)
			if !ok {
				return "", false
			}
			out = append(out, spelled)
			continue
		}
		if dots == ".." && len(out) > 0 {
			out = out[:len(out)-1]
		}
		if rest == "" {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/"), true
}

// segmentOf is the segment with which rest, behind a slash, begins. Parameters of
// dots that are looked through (dotsOf) do not end at a backslash.
func segmentOf(rest string, slash byte) string {
	ends := `/\`
	if slash == '/' && (strings.HasPrefix(rest, ".;") || strings.HasPrefix(rest, "..;")) {
		ends = "/"
	}
	if end := strings.IndexAny(rest, ends); end >= 0 {
		return rest[:end]
	}
	return rest
}

// dotsOf is "." or ".." for a segment that means no name, but this or the one
// above. Parameters are looked through where nothing is escaped, the slash
// before them included.
func dotsOf(segment string, slash byte) string {
	plain := strings.NewReplacer("%2e", ".", "%2E", ".").Replace(segment)
	if plain == "." || plain == ".." {
		return plain
	}
	if name, _, found := strings.Cut(segment, ";"); found && slash == '/' && (name == "." || name == "..") {
		return name
	}
	return ""
}

// spelledOnce escapes the characters that must be escaped, and unescapes those that need
// not be. It is not ok with an escaped NUL. A "%" that escapes nothing stays. It is itself
// escaped where unescaped characters behind it would make an escape of it.
func spelledOnce(segment string) (string, bool) {
	var out []byte
	broken := -1 // where the last "%" that escapes nothing stands
	for rest := segment; rest != ""; {
		c := rest[0]
		switch {
		case c == '%' && (len(rest) < 3 || !isHex(rest[1]) || !isHex(rest[2])):
			broken = len(out)
			out, rest = append(out, c), rest[1:]
		case c == '%':
			unescaped := unhex(rest[1])<<4 | unhex(rest[2])
			if unescaped == 0 {
				return "", false
			}
			if !isUnreserved(unescaped) {
				out, rest = append(out, rest[:3]...), rest[3:]
				continue
			}
			out, rest = append(out, unescaped), rest[3:]
			if broken >= 0 && makesEscape(out[broken+1:], rest) {
				out = slices.Insert(out, broken+1, '2', '5')
			}
		case isEscapedInPaths(c):
			out, rest = append(out, '%', upperHex[c>>4], upperHex[c&0xf]), rest[1:]
		default:
			out, rest = append(out, c), rest[1:]
		}
	}
	return string(out), true
}

// makesEscape reports whether two hexadecimal digits follow a "%" once next is appended
// to the characters behind it.
func makesEscape(behind []byte, next string) bool {
	switch len(behind) {
	case 1:
		return next != "" && isHex(behind[0]) && isHex(next[0])
	case 2:
		return isHex(behind[0]) && isHex(behind[1])
	default:
		return false
	}
}

// hasDotsWithParameters finds the dot segments that the normal form leaves in a
// path, because parameters follow them.
func hasDotsWithParameters(path string) bool {
	path = strings.ToLower(path)
	for _, part := range []string{"/.;", "/..;", "/.%3b", "/..%3b"} {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}

// mergeSlashes leaves one slash of several.
func mergeSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// HostOf is the host that an authority names in its one spelling: lower case,
// without port and trailing dot. It is not ok if that is no host at all.
func HostOf(authority string) (host Hostname, ok bool) {
	name := authority
	if at := strings.LastIndexByte(name, ':'); at >= 0 && strings.Trim(name[at+1:], "0123456789") == "" {
		name = name[:at]
	}
	if inner, found := strings.CutPrefix(name, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		if !found || inner == "" || strings.Trim(inner, "0123456789abcdefABCDEF:.") != "" {
			return "", false
		}
	} else if strings.ContainsAny(name, ":,@[]") || !legalAuthority(name) {
		return "", false
	}
	return Hostname(strings.TrimSuffix(strings.ToLower(name), ".")), true
}

// legalAuthority reports whether Envoy reads an authority at all.
func legalAuthority(authority string) bool {
	return !strings.ContainsFunc(authority, func(r rune) bool {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return false
		default:
			return !strings.ContainsRune("-._~!$&'()*+,;=:@[]%", r)
		}
	})
}
