package explain

import (
	"cmp"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/xds/route"
)

// Explanation is what happens to a request. docs/explain.md documents its JSON,
// which does not change while Version is 1.
type Explanation struct {
	Version int    `json:"version"`
	URL     string `json:"url"`
	Gateway string `json:"gateway"`
	// Controller is spec.controller of the gateway's classes; empty: the usual one.
	Controller string    `json:"controller,omitempty"`
	Listener   *Listener `json:"listener,omitempty"`
	Redirect   string    `json:"redirect,omitempty"` // to where a 307 or 308 sent the client first
	Path       *Path     `json:"path,omitempty"`
	Host       *Host     `json:"host,omitempty"`
	// Certificate is nil without TLS, or if TLS ends at the backend.
	Certificate *Certificate `json:"certificate,omitempty"`
	// Connection is nil for a host that treats connections as all others do.
	Connection *Connection `json:"connection,omitempty"`
	Route      *RouteOf    `json:"route,omitempty"`
	Others     []RouteOf   `json:"others"` // the next best first
	Backend    *Backend    `json:"backend,omitempty"`
	// Endpoints are sorted: those in use come first.
	Endpoints []EndpointOf `json:"endpoints"`

	End    route.End `json:"end"`
	Status int       `json:"status,omitempty"` // of the gateway's own answer
	// Serving says whether Envoys serve it already; nil: not known.
	Serving *Serving `json:"serving,omitempty"`
	Summary string   `json:"summary"`
	Next    []string `json:"next"`

	Problems []problem.Problem `json:"-"` // the command decides where they go
}

// Served reports whether a backend answers.
func (e *Explanation) Served() bool { return e.End == route.EndForwarded }

// Serving is what is known of the Envoys of the gateway. It says whether they
// serve the Ingress of the route as it stands.
type Serving struct {
	Envoys int    `json:"envoys"`
	State  string `json:"state"`
	Why    string `json:"why,omitempty"`
}

// Listener is where the gateway listens.
type Listener struct {
	Name string `json:"name"`
	Port uint16 `json:"port"`
}

// Path is what the gateway makes of the path.
type Path struct {
	Path  string   `json:"path"`
	Query string   `json:"query,omitempty"`
	Steps []string `json:"steps,omitempty"`
}

// Host is the host that serves, and how it was found.
type Host struct {
	Asked  []string `json:"asked"`
	Served string   `json:"served,omitempty"`
	Match  string   `json:"match,omitempty"` // "exact", "wildcard" or "default"
}

// RouteOf is a route that matches.
type RouteOf struct {
	Type    string `json:"type"`
	Path    string `json:"path"`
	Ingress string `json:"ingress"` // namespace/name
	Field   string `json:"field,omitempty"`
	Why     string `json:"why,omitempty"`
}

// Backend is where a route leads.
type Backend struct {
	Service  string `json:"service"` // namespace/name
	Port     int32  `json:"port"`
	Protocol string `json:"protocol"`
	TLS      bool   `json:"tls"`
	DNS      string `json:"dns,omitempty"`
	DNSPort  int32  `json:"dnsPort,omitempty"` // if it differs from Port
	// PerClient says that clients share no connections to it.
	PerClient bool `json:"perClient,omitempty"`
	// VerifiedBy vouches for the backend's certificate: namespace/name of a
	// Secret, or "system"; empty: it is not verified. ServerName is the name that
	// the certificate must be for.
	VerifiedBy string `json:"verifiedBy,omitempty"`
	ServerName string `json:"serverName,omitempty"`
}

// EndpointOf is an endpoint and its use.
type EndpointOf struct {
	Address   string `json:"address"`
	Zone      string `json:"zone,omitempty"`
	Condition string `json:"condition"` // "Ready", "Draining" or "NotReady"
	Used      bool   `json:"used"`
	Target    string `json:"target,omitempty"`
}

func (e *Explanation) next(format string, args ...any) {
	e.Next = append(e.Next, fmt.Sprintf(format, args...))
}

// path adds what happened to the path, after what happened to it before a
// redirect.
func (e *Explanation) path(trace route.Trace) {
	var steps []string
	if e.Path != nil {
		steps = e.Path.Steps
	}
	e.Path = &Path{Path: trace.Path.Path, Query: trace.Path.Query, Steps: append(steps, trace.Path.Steps...)}
}

// secured adds that the client is redirected to an HTTPS URL.
func (e *Explanation) secured(url string) {
	e.Path.Steps = append(e.Path.Steps, "answered 308: the client is sent to "+url)
	e.Redirect = cmp.Or(e.Redirect, url)
}

func (e *Explanation) host(trace route.Trace) {
	if len(trace.Asked) == 0 {
		return
	}
	e.Host = &Host{}
	for _, asked := range trace.Asked {
		e.Host.Asked = append(e.Host.Asked, string(asked))
	}
	if trace.Served == nil {
		return
	}
	e.Host.Served = string(trace.Served.Key.Host)
	switch trace.Served.Key.Host {
	case route.AnyHost:
		e.Host.Match = "default"
	case trace.Host:
		e.Host.Match = "exact"
	default:
		e.Host.Match = "wildcard"
	}
}

func routeOf(r route.Route, host route.Hostname, ingresses []*networkingv1.Ingress) RouteOf {
	described := RouteOf{Type: r.Match.Kind.String(), Path: r.Match.Path, Ingress: r.Origin.String()}
	for _, ing := range ingresses {
		if ing.Namespace == r.Origin.Namespace && ing.Name == r.Origin.Name {
			described.Field = route.FieldOf(ing, host, r.Match)
		}
	}
	return described
}

func backendOf(c route.Cluster) *Backend {
	b := &Backend{
		Service: c.Port.Service.String(), Port: c.Port.Port, Protocol: c.Protocol.String(), TLS: c.TLS,
		DNS: c.DNS, DNSPort: c.DNSPort, PerClient: c.PerClient,
	}
	if c.TLS {
		b.VerifiedBy, b.ServerName = c.Authority.String(), c.ServerName()
	}
	return b
}

func endpointOf(state route.EndpointState) EndpointOf {
	return EndpointOf{
		Address:   state.Address.String(),
		Zone:      state.Zone,
		Condition: string(state.Condition),
		Used:      state.Used,
		Target:    state.Target,
	}
}

// why says why the first of the routes that match comes before the next.
func why(matching []route.Route) string {
	if len(matching) == 1 {
		return "no other matches"
	}
	first, second := matching[0].Match, matching[1].Match
	if len(first.Path) == len(second.Path) {
		return "of two paths of equal length, Exact comes first"
	}
	return fmt.Sprintf("it is the longest of %d that match", len(matching))
}
