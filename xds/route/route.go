// Package route is the model of what the gateways must serve, in plain values
// and our words, and the pure functions that build it from Kubernetes objects.
//
// It knows Kubernetes objects and not Envoy; xds/envoy knows Envoy and not
// Kubernetes. Build functions have no context, no clock, no I/O and no log, and
// users' mistakes come out of them as problem.Problem values. Equal objects
// give equal values in whatever order they come (every slice is sorted).
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

// AnyHost is the default host: it serves requests whose host nobody names.
const AnyHost Hostname = "*"

// Key is the unit of configuration of a host: one virtual host of one gateway.
type Key struct {
	Gateway Gateway
	Host    Hostname
}

// String is "default/shop.test".
func (k Key) String() string { return fmt.Sprintf("%s/%s", k.Gateway, k.Host) }

// Host is one virtual host: all that is served under one name.
type Host struct {
	Key Key
	// Client is what is demanded of clients' certificates, nil for nothing. None
	// of the routes is reached by a connection of which less was demanded, or
	// something else.
	Client *ClientPolicy
	// Passthrough is where connections over TLS that ask for the name (SNI) are
	// passed on as they are; nil: they are not. Routes then answer requests that
	// come another way.
	Passthrough *Cluster
	// Routes are in the order in which they are tried. What none of them
	// matches is answered 404.
	Routes []Route
}

// Route says what becomes of the requests that match it: they are forwarded to
// Cluster, or answered with Status where Cluster is nil.
type Route struct {
	Match   Match
	Cluster *Cluster
	Status  int    // HTTP status, when Cluster is nil
	Reason  string // with Status: why, for people ("BackendNotFound")
	Body    string // with Status: the answer's text; empty: a sentence for the status
	// Redirect sends requests that came over HTTP to the same place over HTTPS
	// (308), where the gateway serves that.
	Redirect bool
	// HSTS is what answers over HTTPS say in Strict-Transport-Security, where
	// the backend says nothing; nil: nothing.
	HSTS *HSTS
	// MaxBody bounds a request's body in bytes (413 beyond); 0 means the
	// gateway's own default.
	MaxBody int64
	// RepeatedSlashes is what the backend sees of them; empty: what the gateway
	// has for all.
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

// ServicePort is one port of one Service. It is the unit of endpoints: every
// cluster of a Service port, whatever its policy, shares them.
type ServicePort struct {
	Service types.NamespacedName
	Port    int32 // the Service's port number, not the target's
}

// String is "shop/cart:80".
func (p ServicePort) String() string { return fmt.Sprintf("%s:%d", p.Service, p.Port) }

// Protocol is what is spoken to a backend.
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

// Cluster is a Service port and how its endpoints are spoken to. It is
// comparable: routes whose Clusters are equal share one cluster in Envoy, and
// what Envoy's cluster says follows from this value alone, so that a change of
// policy is a new cluster, made before the old one is broken.
type Cluster struct {
	Port     ServicePort
	Protocol Protocol
	TLS      bool
	// DNS is the name that an ExternalName Service stands for; its endpoints
	// are resolved by Envoy. Empty: endpoints are published as a Backend.
	DNS string
	// DNSPort is the port that is connected to at that name; 0: that of Port.
	DNSPort int32
	// PerClient says that no two connections of clients share one to the backend.
	PerClient bool
	// Authority vouches for the backend, with TLS; its zero value: nobody has to.
	Authority Authority
	// SNI is the name of the backend, with TLS; empty: ServerName says it.
	SNI string
	// EndpointsStay has no endpoint be set aside, whatever the gateway's settings
	// say of OutlierDetection.
	EndpointsStay bool
}

// ConnectTimeout is how long a connection attempt may take where nobody says so.
// Within a cluster no network needs half a second: what does not answer then is
// not there, or has no place left. TLS takes the work of both ends, and a name may
// lead anywhere.
func (c Cluster) ConnectTimeout() time.Duration {
	if c.TLS || c.DNS != "" {
		return 2 * time.Second
	}
	return 500 * time.Millisecond
}

// ServerName is the name that is asked for over TLS, and that the certificate
// has to be for: the one that is given, or the DNS name, or where the backend is
// verified that of the Service ("pay.shop.svc"). It may be an IP address, or empty.
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
	// Endpoints are sorted and unique. None means: 503.
	Endpoints []Endpoint
}

// Endpoint is one address that serves.
type Endpoint struct {
	Address netip.AddrPort
	Zone    string // topology zone, empty when unknown
}
