package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterGatewayConfig is the settings of a gateway. An IngressClass names it in
// spec.parameters, with scope Cluster. The gateway has the same name. The one
// called "default" also applies to classes without parameters.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=fairway
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:metadata:labels="app.kubernetes.io/name=fairway"
type ClusterGatewayConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   GatewayConfigSpec   `json:"spec,omitempty"`
	Status GatewayConfigStatus `json:"status,omitempty"`
}

// ClusterGatewayConfigList is a list of ClusterGatewayConfigs.
//
// +kubebuilder:object:root=true
type ClusterGatewayConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterGatewayConfig `json:"items"`
}

// GatewayConfig is the settings of a gateway, in a namespace. An IngressClass
// names it in spec.parameters, with scope Namespace. The gateway is called
// namespace/name.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,categories=fairway
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:metadata:labels="app.kubernetes.io/name=fairway"
type GatewayConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   GatewayConfigSpec   `json:"spec,omitempty"`
	Status GatewayConfigStatus `json:"status,omitempty"`
}

// GatewayConfigList is a list of GatewayConfigs.
//
// +kubebuilder:object:root=true
type GatewayConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []GatewayConfig `json:"items"`
}

// GatewayConfigSpec is the settings of a gateway as a whole. Fields that are left
// out take the values of the controller's flags; the defaults below are those of
// the flags.
//
// +kubebuilder:validation:XValidation:rule="!has(self.httpPort) || !has(self.httpsPort) || self.httpPort == 0 || self.httpPort != self.httpsPort",message="httpPort and httpsPort must differ"
// +kubebuilder:validation:XValidation:rule="!has(self.httpPort) || self.httpPort != 0 || (has(self.httpsPort) && self.httpsPort != 0)",message="without httpPort there must be an httpsPort"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || !has(self.tls.http3) || !self.tls.http3 || !has(self.proxyProtocol)",message="HTTP/3 has no PROXY protocol: tls.http3 and proxyProtocol exclude one another"
type GatewayConfigSpec struct {
	// address is the IP address that Envoy binds; "::" means all addresses, IPv4
	// included. Default "::".
	//
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IP address"
	Address *string `json:"address,omitempty"`

	// httpPort is the port that Envoy binds for HTTP; 0 means none. Default 80.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	HTTPPort *int32 `json:"httpPort,omitempty"`

	// httpsPort is the port that Envoy binds for HTTPS; 0 means none. Default
	// 443.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	HTTPSPort *int32 `json:"httpsPort,omitempty"`

	// publicPorts are the ports that clients use, if something in front of the
	// gateway maps them to httpPort and httpsPort. The gateway sends them to
	// backends in X-Forwarded-Port, and to clients in redirects to HTTPS and in
	// Alt-Svc.
	//
	// +optional
	PublicPorts *PublicPorts `json:"publicPorts,omitempty"`

	// proxyProtocol makes the gateway read the client's address from a PROXY
	// header (version 1 or 2), which a TCP load balancer sends before the first
	// byte of a connection. By default the gateway expects no PROXY header.
	//
	// +optional
	ProxyProtocol *ProxyProtocol `json:"proxyProtocol,omitempty"`

	// trustedHops is the number of proxies in front of the gateway that it trusts
	// in X-Forwarded-For. With 0 the gateway removes a client's own X-Forwarded-*
	// headers. Default 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	TrustedHops *int32 `json:"trustedHops,omitempty"`

	// escapedSlashes says how to treat a path with %2F or %5C: Redirect answers
	// 307 to the unescaped path, Reject answers 400, Keep forwards it unchanged.
	// Default Redirect.
	//
	// +optional
	// +kubebuilder:validation:Enum=Redirect;Reject;Keep
	EscapedSlashes *string `json:"escapedSlashes,omitempty"`

	// repeatedSlashes says what a backend sees of a path with several slashes in
	// a row: Merge sends one slash, Keep sends the client's path. In both cases
	// the path with one slash decides the route. The annotation
	// fairway.dev/repeated-slashes of an Ingress overrides this. Default Merge.
	//
	// +optional
	// +kubebuilder:validation:Enum=Merge;Keep
	RepeatedSlashes *string `json:"repeatedSlashes,omitempty"`

	// underscoresInHeaders says how to treat request headers with an underscore
	// in their name, which many backends read as a hyphen. Drop forwards the
	// request without them. Reject answers 400. Keep forwards them, except those
	// that read as one of the gateway's own, such as X_Forwarded_For. Default
	// Drop.
	//
	// +optional
	// +kubebuilder:validation:Enum=Drop;Reject;Keep
	UnderscoresInHeaders *string `json:"underscoresInHeaders,omitempty"`

	// headerCase is the case of header names over HTTP/1.1, to clients and to
	// backends: Lower is content-type, Title is Content-Type, Preserve keeps the
	// case of headers that came over HTTP/1.1. Default Lower.
	//
	// +optional
	// +kubebuilder:validation:Enum=Lower;Title;Preserve
	HeaderCase *string `json:"headerCase,omitempty"`

	// grpcWeb translates gRPC-Web, which browsers can send, into gRPC for
	// backends. Default false.
	//
	// +optional
	GRPCWeb *bool `json:"grpcWeb,omitempty"`

	// serverHeader says how to treat the header Server of a response. IfAbsent
	// keeps the backend's header and adds "fairway" if there is none. PassThrough
	// keeps the backend's header and adds none. Remove removes it. Default
	// IfAbsent.
	//
	// +optional
	// +kubebuilder:validation:Enum=IfAbsent;PassThrough;Remove
	ServerHeader *string `json:"serverHeader,omitempty"`

	// timeouts limit how long things may take.
	//
	// +optional
	Timeouts *Timeouts `json:"timeouts,omitempty"`

	// limits bound the size of requests and responses.
	//
	// +optional
	Limits *Limits `json:"limits,omitempty"`

	// outlierDetection ejects endpoints to which Envoy cannot connect, so that no
	// request waits for them. The annotation fairway.dev/outlier-detection of a
	// Service switches it off for that Service.
	//
	// +optional
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`

	// accessLog says what to log about each request.
	//
	// +optional
	AccessLog *AccessLog `json:"accessLog,omitempty"`

	// issuer is the Issuer of certificates for the Ingresses of the gateway's
	// classes. Fairway orders a certificate if the Secret in spec.tls does not
	// exist, or if Fairway made it. The annotation fairway.dev/issuer of an
	// Ingress overrides this. Default: none.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Issuer *string `json:"issuer,omitempty"`

	// tls configures TLS for clients. Its defaults suit browsers and tools of the
	// last ten years; most changes exclude some of them.
	//
	// +optional
	TLS *TLS `json:"tls,omitempty"`
}

// PublicPorts are the ports that clients use.
type PublicPorts struct {
	// http is the port that clients use for HTTP. Default: the port of the
	// Service that publishes the gateway, or else httpPort.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTP *int32 `json:"http,omitempty"`

	// https is the port that clients use for HTTPS and HTTP/3. Default: the port
	// of the Service that publishes the gateway, or else httpsPort.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTPS *int32 `json:"https,omitempty"`
}

// ProxyProtocol says who may send PROXY headers.
type ProxyProtocol struct {
	// from are the addresses of the load balancers, as CIDR blocks ("10.0.0.0/8",
	// "192.0.2.7/32"). The gateway closes connections from elsewhere, because
	// they could claim any client address. If from is empty, the gateway trusts
	// every peer; then only the load balancers may be able to reach it.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c))",message="must be CIDR blocks, such as 10.0.0.0/8"
	From []string `json:"from,omitempty"`

	// optional also accepts connections without a PROXY header, whose client is
	// then the peer itself. It is for health checks, or for the time while a load
	// balancer is reconfigured. Default false: the gateway closes such
	// connections.
	//
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// Duration is one or several numbers with a unit: "90s", "1h30m", "250ms". "0s"
// means no limit, where that is allowed.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
type Duration string

// Timeouts limit how long things may take.
type Timeouts struct {
	// idle is how long a client's connection may be idle between requests.
	// Default 5m, at least 1s.
	//
	// +optional
	Idle *Duration `json:"idle,omitempty"`

	// streamIdle is how long a request may be idle, in both directions; 0s means
	// no limit. Default 5m.
	//
	// +optional
	StreamIdle *Duration `json:"streamIdle,omitempty"`

	// requestHeaders is how long a request's headers may take to arrive, from
	// their first byte; 0s means no limit. Default 10s.
	//
	// +optional
	RequestHeaders *Duration `json:"requestHeaders,omitempty"`

	// request is how long a whole request may take to arrive; 0s means no limit.
	// Default 0s.
	//
	// +optional
	Request *Duration `json:"request,omitempty"`

	// connect is how long it may take to connect to a backend, TLS included; at
	// least 10ms. Default 500ms, and 2s over TLS and to an ExternalName.
	//
	// +optional
	Connect *Duration `json:"connect,omitempty"`

	// upstreamIdle is how long to keep an idle connection to a backend. It must
	// be shorter than the backends' own idle timeout. Default 4s, at least 100ms.
	//
	// +optional
	UpstreamIdle *Duration `json:"upstreamIdle,omitempty"`
}

// Limits bound the size of requests and responses.
type Limits struct {
	// requestBody is the largest body in bytes ("10Mi"); a larger one gets 413. 0
	// means no limit. The annotation fairway.dev/max-request-body of an Ingress
	// overrides this. Default 0.
	//
	// +optional
	RequestBody *resource.Quantity `json:"requestBody,omitempty"`

	// requestHeaders is the largest total size of a request's headers in bytes
	// ("64Ki"; whole Ki, from 1Ki to 8Mi); larger ones get 431. Default 64Ki.
	//
	// +optional
	RequestHeaders *resource.Quantity `json:"requestHeaders,omitempty"`

	// requestHeaderCount is the largest number of a request's headers; more get
	// 431. Default 200.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	RequestHeaderCount *int32 `json:"requestHeaderCount,omitempty"`

	// responseHeaders is the largest total size of the headers of a backend's
	// response in bytes ("256Ki"; whole Ki, from 1Ki to 8Mi); larger ones become
	// 502. Default 256Ki.
	//
	// +optional
	ResponseHeaders *resource.Quantity `json:"responseHeaders,omitempty"`

	// responseHeaderCount is the largest number of headers of a backend's
	// response; more become 502. Default 1000.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	ResponseHeaderCount *int32 `json:"responseHeaderCount,omitempty"`
}

// OutlierDetection says when to eject endpoints, and for how long. It ignores
// their responses.
type OutlierDetection struct {
	// enabled switches outlier detection on. Default true.
	//
	// +optional
	Enabled *bool `json:"enabled,omitempty"`

	// baseEjectionTime is how long the first ejection of an endpoint lasts. Each
	// further ejection lasts longer by the same time. Default 10s, at least 1s.
	//
	// +optional
	BaseEjectionTime *Duration `json:"baseEjectionTime,omitempty"`

	// maxEjectionTime is the longest ejection. Default 2m, at least
	// baseEjectionTime.
	//
	// +optional
	MaxEjectionTime *Duration `json:"maxEjectionTime,omitempty"`
}

// AccessLog writes one line of JSON per request to Envoy's standard output.
type AccessLog struct {
	// enabled switches the access log on. Default true.
	//
	// +optional
	Enabled *bool `json:"enabled,omitempty"`

	// fields are the only fields of a line. Default: all.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Fields []AccessLogField `json:"fields,omitempty"`

	// requestHeaders are request headers to log, too. Headers with credentials
	// (Authorization, Cookie and the like) are not allowed.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	RequestHeaders []HeaderName `json:"requestHeaders,omitempty"`

	// responseHeaders are response headers to log, too. Set-Cookie is not
	// allowed.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	ResponseHeaders []HeaderName `json:"responseHeaders,omitempty"`
}

// AccessLogField is a field of an access log's line.
//
// +kubebuilder:validation:Enum=time;method;host;path;protocol;status;flags;details;reason;ingress;duration;upstream;upstream_cluster;upstream_time;upstream_failure;upstream_received;bytes_received;bytes_sent;request_id;client;user_agent
type AccessLogField string

// HeaderName is the name of an HTTP header, in any case.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9-]*$`
type HeaderName string

// GatewayConfigStatus is the result of the settings.
type GatewayConfigStatus struct {
	// conditions: Accepted says whether the gateway uses these settings. If it is
	// False, the gateway keeps the last accepted settings.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The condition of a GatewayConfig, and its reasons.
const (
	ConditionAccepted = "Accepted"

	ReasonAccepted = "Accepted" // in force while a class names it
	ReasonUnused   = "Unused"   // valid, but no class of Fairway's names it
	ReasonInvalid  = "Invalid"  // the message says which fields are wrong, and why
)
