package explain

import (
	"net/http"
	"slices"

	"github.com/fairwaynet/fairway/xds/route"
)

// EndMisdirected is the end of a request over a connection by which its host
// serves nothing. The connection came without TLS, was verified in another way, or
// ended at the gateway and not at the backend.
const EndMisdirected route.End = "Misdirected"

// Connection says how the host treats connections over TLS, if it differs from
// other hosts.
type Connection struct {
	// ClientCA is the Secret by which clients are verified, "namespace/name".
	// Required says that clients must have a certificate.
	ClientCA string `json:"clientCA,omitempty"`
	Required bool   `json:"required,omitempty"`
	// Passthrough says that connections are passed on to the backend as they are.
	Passthrough bool `json:"passthrough,omitempty"`
}

// String returns text such as "only with a certificate by an authority of Secret
// shop/staff-ca".
func (c *Connection) String() string {
	by := "certificate by an authority of Secret " + c.ClientCA
	switch {
	case c.Passthrough:
		return "TLS is passed through to the backend, by the server name"
	case c.Required:
		return "only with a " + by
	default:
		return "with a " + by + ", or with none"
	}
}

// label returns the label of its line in the text.
func (c *Connection) label() string {
	if c.Passthrough {
		return "tls"
	}
	return "clients"
}

// connect adds what happens to the connection of a request. It reports whether the
// request ends there.
func (w *trace) connect(request Request, trace route.Trace) (ends bool) {
	host := trace.Served
	if host == nil || host.Client == nil && host.Passthrough == nil {
		return false
	}
	w.said.Connection = &Connection{Passthrough: host.Passthrough != nil}
	if host.Client != nil {
		w.said.Connection.ClientCA, w.said.Connection.Required = host.Client.CA.String(), host.Client.Required
	}
	if request.Scheme == "http" && w.secures(request, trace) || request.Scheme == "https" && w.chain.Serves(host) {
		return false
	}
	w.said.End, w.said.Status = EndMisdirected, http.StatusMisdirectedRequest
	return true
}

// isForcedToTLS reports whether all requests over HTTP for a host are sent to
// HTTPS. Then nothing of it is served without TLS.
func isForcedToTLS(host *route.Host) bool {
	return (host.Client != nil || host.Passthrough != nil) &&
		slices.ContainsFunc(host.Routes, func(r route.Route) bool { return r.Redirect })
}
