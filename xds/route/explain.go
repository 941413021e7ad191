package route

import (
	"cmp"
	"net/http"
)

// Trace is the way of a request through a gateway, from its request line to the
// route that takes it, or to the place where it ends.
type Trace struct {
	Request Request
	Path    RequestPath
	// Host is the requested host in its one spelling. Asked are the names under which
	// it was looked for, in order. The last of them is that of Served, unless Served is
	// nil.
	Host   Hostname
	Asked  []Hostname
	Served *Host
	// Matching are the routes of Served that match, in the order in which they
	// are tried. The first takes the request.
	Matching []Route
	// End says where the request ends, and Status is the gateway's own answer. With
	// EndForwarded the cluster of the first of Matching answers, and Status is 0.
	End    End
	Status int

	keeps bool // the backend sees repeated slashes
}

// Forwarded is the path as a backend sees it, or a client that is sent to HTTPS.
func (t Trace) Forwarded() string {
	if t.keeps {
		return t.Path.Repeated
	}
	return t.Path.Path
}

// End is where a request ends.
type End string

// The ends of a request in a gateway.
const (
	EndForwarded   End = "Forwarded"   // at a backend
	EndChallenge   End = "Challenge"   // its route answers a certificate authority
	EndRedirected  End = "Redirected"  // the client is sent to another path
	EndBadPath     End = "BadPath"     // refused for its path
	EndBadHost     End = "BadHost"     // refused for its host
	EndBadMethod   End = "BadMethod"   // CONNECT and TRACE, in any case, or no method at all
	EndNoHost      End = "NoHost"      // no Ingress serves its host
	EndNoPath      End = "NoPath"      // no Ingress serves its path
	EndUnavailable End = "Unavailable" // its route has no usable backend
	EndTooLarge    End = "TooLarge"    // its body is larger than allowed
)

// Explain follows a request through a gateway with the settings. find returns the host
// of a name, nil if no Ingress names it, as Build does.
func Explain(settings Settings, find func(Hostname) *Host, request Request) Trace {
	t := Trace{Request: request, Path: settings.PathOf(request.Target)}
	host, ok := HostOf(request.Authority)
	t.Host = host
	switch {
	case !legalAuthority(request.Authority):
		return t.end(EndBadHost, http.StatusBadRequest)
	case !isMethod(request.Method):
		return t.end(EndBadMethod, http.StatusBadRequest)
	case request.Method == http.MethodConnect: // which has no path
		return t.end(EndBadMethod, http.StatusForbidden)
	case t.Path.Status == http.StatusTemporaryRedirect:
		return t.end(EndRedirected, t.Path.Status)
	case t.Path.Status != 0:
		return t.end(EndBadPath, t.Path.Status)
	case isRefused(request.Method):
		return t.end(EndBadMethod, http.StatusForbidden)
	case !ok:
		return t.end(EndBadHost, http.StatusBadRequest)
	}
	t.Served = HostFor(host, func(candidate Hostname) *Host {
		t.Asked = append(t.Asked, candidate)
		return find(candidate)
	})
	if t.Served == nil {
		return t.end(EndNoHost, http.StatusNotFound)
	}
	return t.route(settings)
}

// route finds the routes that match in the host that serves.
func (t Trace) route(settings Settings) Trace {
	t.Matching = t.Served.Matching(t.Path.Path)
	if len(t.Matching) == 0 {
		return t.end(EndNoPath, http.StatusNotFound)
	}
	taken := t.Matching[0]
	if t.Path.Repeated != "" && cmp.Or(taken.RepeatedSlashes, settings.RepeatedSlashes) == RepeatedSlashesKeep {
		t.keeps = true
		t.Path.note("they are kept for what is behind the route: " + t.Path.Repeated)
	}
	limit := settings.MaxRequestBody
	if taken.MaxBody > 0 {
		limit = taken.MaxBody
	}
	switch {
	case taken.IsChallenge():
		return t.end(EndChallenge, taken.Status)
	case t.Served.Passthrough != nil:
		return t.end(EndForwarded, 0) // as it is, if it comes over TLS
	case taken.Cluster == nil:
		return t.end(EndUnavailable, taken.Status)
	case limit > 0 && t.Request.Length > limit:
		return t.end(EndTooLarge, http.StatusRequestEntityTooLarge)
	}
	return t.end(EndForwarded, 0)
}

func (t Trace) end(end End, status int) Trace {
	t.End, t.Status = end, status
	return t
}

// Matching returns the routes that match a normalised path, in the order in
// which they are tried.
func (h *Host) Matching(path string) []Route {
	var matching []Route
	for _, r := range h.Routes {
		if r.Match.Matches(path) {
			matching = append(matching, r)
		}
	}
	return matching
}

// Matches reports whether a normalised path, without query, matches.
func (m Match) Matches(path string) bool {
	if m.Kind == Exact || path == m.Path {
		return path == m.Path
	}
	if m.Path == "/" {
		return path != "" && path[0] == '/'
	}
	return len(path) > len(m.Path) && path[len(m.Path)] == '/' && path[:len(m.Path)] == m.Path
}
