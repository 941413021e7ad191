// Package route is the model of the configuration that the gateways must serve, in plain
// values and our own words, with the pure functions that build it from Kubernetes objects.
// It also holds the rules that decide about a connection before a route does: which
// certificate a server name is shown, and which filter chain it gets.
//
// It knows Kubernetes objects and not Envoy; xds/envoy knows Envoy and not Kubernetes.
// Build functions have no context, no clock, no I/O and no log, and return users' mistakes
// as problem.Problem values. Equal objects give equal values in whatever order they come
// (every slice is sorted).
package route

import (
	"fmt"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Gateway names one set of listeners and the Envoys that run it.
type Gateway string

// DefaultGateway serves every class that names no gateway of its own.
const DefaultGateway Gateway = "default"

// Hostname is the host of a virtual host in its one spelling: lower case,
// without port and trailing dot. It is a full name ("shop.test"), a wildcard
// that covers exactly one label ("*.shop.test"), or AnyHost.
type Hostname string

// AnyHost is the default host: it serves requests whose host no Ingress names.
const AnyHost Hostname = "*"

// Key is the unit of configuration of a host: one virtual host of one gateway.
type Key struct {
	Gateway Gateway
	Host    Hostname
}

// String is "default/shop.test".
func (k Key) String() string { return fmt.Sprintf("%s/%s", k.Gateway, k.Host) }

// Host is one virtual host: the routes of one name.
type Host struct {
	Key Key
	// Client is the host's demand on clients' certificates; nil: none. A connection of
	// which something else was demanded reaches none of the routes.
	Client *ClientPolicy
	// Passthrough is the cluster to which connections over TLS that ask for the name
	// (SNI) are passed on as they are; nil: they are not. Routes then answer requests
	// that come another way.
	Passthrough *Cluster
	// Routes are in the order in which they are tried. A request that none of them
	// matches is answered 404.
	Routes []Route
}

// Route is the fate of the requests that match it: they are forwarded to Cluster, or
// answered with Status if Cluster is nil.
type Route struct {
	Match   Match
	Cluster *Cluster
	Status  int    // HTTP status, when Cluster is nil
	Reason  string // with Status: why, for people ("BackendNotFound")
	Body    string // with Status: the answer's text; empty: a sentence for the status
	// Redirect sends requests that came over HTTP to the same place over HTTPS (308), if
	// the gateway serves HTTPS.
	Redirect bool
	// HSTS is the header Strict-Transport-Security of answers over HTTPS to which the
	// backend adds none; nil: none.
	HSTS *HSTS
	// MaxBody bounds a request's body in bytes (413 beyond); 0 means the
	// gateway's own default.
	MaxBody int64
	// RepeatedSlashes is how the backend sees them; empty: as the gateway's settings
	// say.
	RepeatedSlashes RepeatedSlashes
	// Origin is the Ingress that asked for this route, for access logs,
	// metrics and explanations.
	Origin types.NamespacedName
}

// PathKind says how Match.Path is compared with the path of a request.
type PathKind int

// The two ways to match a path.
const (
	// Prefix matches by whole segments: "/a" matches "/a", "/a/" and "/a/b",
	// not "/ab". Its path has no trailing slash, but for the root "/".
	Prefix PathKind = iota
	// Exact matches the path alone, trailing slash included.
	Exact
)

// String is "Prefix" or "Exact".
func (k PathKind) String() string {
	if k == Exact {
		return "Exact"
	}
	return "Prefix"
}

// Match is the condition of a Route on the path of a request, without query.
type Match struct {
	Kind PathKind
	Path string
}

// ServicePort is one port of one Service. It is the unit of endpoints, which all of its
// clusters share, whatever their policy.
type ServicePort struct {
	Service types.NamespacedName
	Port    int32 // the Service's port number, not the target's
}

// String is "shop/cart:80".
func (p ServicePort) String() string { return fmt.Sprintf("%s:%d", p.Service, p.Port) }

// Protocol is the protocol of connections to a backend.
type Protocol int

// The protocols that a Service port's appProtocol can ask for.
const (
	HTTP1    Protocol = iota // HTTP/1.1, the default; also ws and wss
	HTTP2                    // HTTP/2: without TLS by prior knowledge (h2c, grpc)
	HTTPAuto                 // HTTP/2 or HTTP/1.1 as ALPN decides; TLS only
)

// String is "http1", "http2" or "auto".
func (p Protocol) String() string {
	switch p {
	case HTTP2:
		return "http2"
	case HTTPAuto:
		return "auto"
	default:
		return "http1"
	}
}

// Cluster is a Service port with the policy of connections to its endpoints. It is
// comparable: routes whose Clusters are equal share one cluster in Envoy. Envoy's cluster
// follows from this value alone, so that a change of policy is a new cluster, made before
// the old one is broken.
type Cluster struct {
	Port     ServicePort
	Protocol Protocol
	TLS      bool
	// DNS is the name that an ExternalName Service stands for, which Envoy resolves.
	// Empty: endpoints are published as a Backend.
	DNS string
	// DNSPort is the port to connect to at that name; 0: that of Port.
	DNSPort int32
	// PerClient says that connections of clients do not share connections to the
	// backend.
	PerClient bool
	// Authority verifies the backend, with TLS; its zero value: it is not verified.
	Authority Authority
	// SNI is the name of the backend, with TLS; empty: see ServerName.
	SNI string
	// EndpointsStay switches outlier detection off: no endpoint is set aside, whatever
	// the gateway's settings say.
	EndpointsStay bool
}

// ConnectTimeout is the default bound of a connection attempt. Within a cluster no
// network needs half a second: an endpoint that has not answered by then is gone, or
// full. TLS takes the work of both ends, and a name may lead anywhere.
func (c Cluster) ConnectTimeout() time.Duration {
	if c.TLS || c.DNS != "" {
		return 2 * time.Second
	}
	return 500 * time.Millisecond
}

// ServerName is the name that the gateway asks for over TLS, and that the backend's
// certificate must be for: SNI, or the DNS name, or, if the backend is verified, that of
// the Service ("pay.shop.svc"). It may be an IP address, or empty.
func (c Cluster) ServerName() string {
	switch {
	case c.SNI != "":
		return c.SNI
	case c.DNS != "":
		return c.DNS
	case c.Authority != (Authority{}):
		return c.Port.Service.Name + "." + c.Port.Service.Namespace + ".svc"
	default:
		return ""
	}
}

// Backend is the endpoints of one Service port.
type Backend struct {
	Port ServicePort
	// Endpoints are sorted and unique. Without any, requests are answered 503.
	Endpoints []Endpoint
}

// Endpoint is one address that takes requests.
type Endpoint struct {
	Address netip.AddrPort
	Zone    string // topology zone, empty when unknown
}
