package route

import (
	"net/netip"
	"reflect"
	"time"
)

// EscapedSlashes is how a gateway treats a path that holds %2F, %2f, %5C or %5c. Some
// backends decode them and some do not, which is the root of path confusion.
type EscapedSlashes string

// The choices for escaped slashes.
const (
	EscapedSlashesRedirect EscapedSlashes = "Redirect" // unescape and answer 307 to the plain path
	EscapedSlashesReject   EscapedSlashes = "Reject"   // answer 400
	EscapedSlashesKeep     EscapedSlashes = "Keep"     // forward as they are
)

// RepeatedSlashes is how a backend sees a path with several slashes in a row. The route
// is chosen by the path with one in their place.
type RepeatedSlashes string

// The choices for repeated slashes.
const (
	RepeatedSlashesMerge RepeatedSlashes = "Merge" // one slash
	RepeatedSlashesKeep  RepeatedSlashes = "Keep"  // as the client sent them
)

// ServerHeader chooses the header Server of a response.
type ServerHeader string

// The choices for the header Server.
const (
	ServerHeaderIfAbsent    ServerHeader = "IfAbsent"    // the backend's own, or else the gateway's
	ServerHeaderPassThrough ServerHeader = "PassThrough" // the backend's own, if any
	ServerHeaderRemove      ServerHeader = "Remove"      // nothing
)

// Underscores is how a gateway treats a request's headers with an underscore in their
// name, which many backends read as a hyphen.
type Underscores string

// The choices for underscores.
const (
	UnderscoresDrop   Underscores = "Drop"   // the header
	UnderscoresReject Underscores = "Reject" // the request
	UnderscoresKeep   Underscores = "Keep"   // none but those that read as one of the gateway's own
)

// HeaderCase is the case of headers' names over HTTP/1.1.
type HeaderCase string

// The choices for the case of headers.
const (
	HeaderCaseLower    HeaderCase = "Lower"    // content-type
	HeaderCaseTitle    HeaderCase = "Title"    // Content-Type
	HeaderCasePreserve HeaderCase = "Preserve" // as they came, where they came over HTTP/1.1
)

// Settings are those of a gateway as a whole. The zero value of a field is not its
// default: start from DefaultSettings.
type Settings struct {
	// Address is the IP address that the listeners bind to; "::" is dual stack.
	Address string
	// HTTPPort and HTTPSPort are the ports that Envoy binds. 0: no listener.
	HTTPPort, HTTPSPort uint16
	// Public are the ports that clients use, as they were configured, and
	// Published those of the Service that publishes the gateway. See PublicHTTP,
	// PublicHTTPS and PublicHTTP3.
	Public, Published PublicPorts
	// ProxyProtocol names the peers that send PROXY headers; nil: none does.
	ProxyProtocol *ProxyProtocol
	// TrustedHops is how many proxies in front of the gateway are trusted in
	// X-Forwarded-For. With 0 a client's own X-Forwarded-* are removed.
	TrustedHops uint32
	// EscapedSlashes is Redirect by default.
	EscapedSlashes EscapedSlashes
	// RepeatedSlashes is Merge by default, for routes that do not say otherwise.
	RepeatedSlashes RepeatedSlashes
	// UnderscoresInHeaders is Drop by default, and HeaderCase Lower.
	UnderscoresInHeaders Underscores
	HeaderCase           HeaderCase
	// GRPCWeb translates gRPC-Web for backends that speak gRPC.
	GRPCWeb bool
	// ServerHeader is IfAbsent by default.
	ServerHeader ServerHeader
	// MaxRequestBody bounds bodies in bytes, for hosts that do not say
	// otherwise. 0: no bound, and nothing is ever buffered.
	MaxRequestBody int64
	// MaxRequestHeaders bounds the headers of a request, in KiB (431 beyond),
	// and MaxRequestHeaderCount their number.
	MaxRequestHeaders, MaxRequestHeaderCount uint32
	// MaxResponseHeaders bounds the headers of a backend's response, in KiB (502
	// beyond), and MaxResponseHeaderCount their number.
	MaxResponseHeaders, MaxResponseHeaderCount uint32

	// IdleTimeout closes a connection without requests, and StreamIdleTimeout ends a
	// request in which nothing moves. RequestHeadersTimeout bounds the time from the
	// first byte of a request to the end of its headers, and RequestTimeout the time
	// from there to the end of its body (0: no bound).
	IdleTimeout, StreamIdleTimeout, RequestHeadersTimeout, RequestTimeout time.Duration
	// ConnectTimeout bounds a connection attempt to an endpoint, TLS included; 0 stands
	// for Cluster.ConnectTimeout.
	ConnectTimeout time.Duration
	// UpstreamIdleTimeout is how long an unused connection to an endpoint is kept.
	// It stays under the 5 s after which common backends close theirs.
	UpstreamIdleTimeout time.Duration
	// OutlierDetection sets unreachable endpoints aside.
	OutlierDetection OutlierDetection

	// LocalBackends lets backends be LocalPrefixes. Only the operator of the controller
	// may allow that, so no custom resource has the field.
	LocalBackends bool

	// AccessLog switches the JSON access log (standard output of Envoy) on.
	AccessLog bool
	// AccessLogFields are the fields of a line; none: all LogFields.
	AccessLogFields []LogField
	// AccessLogRequestHeaders and AccessLogResponseHeaders are headers that a
	// line also holds, in lower case.
	AccessLogRequestHeaders, AccessLogResponseHeaders []string

	// TLS is that of connections with clients.
	TLS TLS
}

// ProxyProtocol names the peers that send PROXY headers.
type ProxyProtocol struct {
	// From are the peers that may connect. Without any, every peer may connect and is
	// trusted.
	From []netip.Prefix
	// Optional also takes connections without a PROXY header.
	Optional bool
}

// OutlierDetection sets an unreachable endpoint aside, so that no request waits for it,
// and takes it back after a while.
type OutlierDetection struct {
	Enabled bool
	// BaseEjectionTime is how long an endpoint is set aside for the first time. Each
	// further time is longer by as much, up to MaxEjectionTime.
	BaseEjectionTime, MaxEjectionTime time.Duration
}

// DefaultSettings are safe on the open internet.
func DefaultSettings() Settings {
	return Settings{
		Address:                "::",
		HTTPPort:               80,
		EscapedSlashes:         EscapedSlashesRedirect,
		RepeatedSlashes:        RepeatedSlashesMerge,
		UnderscoresInHeaders:   UnderscoresDrop,
		HeaderCase:             HeaderCaseLower,
		ServerHeader:           ServerHeaderIfAbsent,
		MaxRequestHeaders:      64,
		MaxRequestHeaderCount:  200,
		MaxResponseHeaders:     256,
		MaxResponseHeaderCount: 1000,
		IdleTimeout:            5 * time.Minute,
		StreamIdleTimeout:      5 * time.Minute,
		RequestHeadersTimeout:  10 * time.Second,
		UpstreamIdleTimeout:    4 * time.Second,
		OutlierDetection: OutlierDetection{
			Enabled:          true,
			BaseEjectionTime: 10 * time.Second,
			MaxEjectionTime:  2 * time.Minute,
		},
		AccessLog: true,
	}
}

// Equal reports whether both say the same.
func (s Settings) Equal(other Settings) bool { return reflect.DeepEqual(s, other) }
