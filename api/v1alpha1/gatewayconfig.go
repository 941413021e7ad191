package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterGatewayConfig is the settings of a gateway. An IngressClass names it in
// spec.parameters, with scope Cluster; the gateway has its name. The one that is
// called "default" also holds for classes without parameters.
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

// ClusterGatewayConfigList is a list of them.
//
// +kubebuilder:object:root=true
type ClusterGatewayConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterGatewayConfig `json:"items"`
}

// GatewayConfig is the settings of a gateway, in a namespace. An IngressClass
// names it in spec.parameters, with scope Namespace; the gateway is called
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

// GatewayConfigList is a list of them.
//
// +kubebuilder:object:root=true
type GatewayConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []GatewayConfig `json:"items"`
}

// GatewayConfigSpec is what is set for a gateway as a whole. What is left out is
// as the controller was started with; the defaults below are those of its flags.
//
// +kubebuilder:validation:XValidation:rule="!has(self.httpPort) || !has(self.httpsPort) || self.httpPort == 0 || self.httpPort != self.httpsPort",message="httpPort and httpsPort must differ"
// +kubebuilder:validation:XValidation:rule="!has(self.httpPort) || self.httpPort != 0 || (has(self.httpsPort) && self.httpsPort != 0)",message="without httpPort there must be an httpsPort"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || !has(self.tls.http3) || !self.tls.http3 || !has(self.proxyProtocol)",message="HTTP/3 has no PROXY protocol: tls.http3 and proxyProtocol exclude one another"
type GatewayConfigSpec struct {
	// address is the IP address that Envoy binds; "::" is all of them, IPv4
	// included. Default "::".
	//
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IP address"
	Address *string `json:"address,omitempty"`

	// httpPort is the port that Envoy binds for HTTP; 0 is none. Default 80.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	HTTPPort *int32 `json:"httpPort,omitempty"`

	// httpsPort is the port that Envoy binds for HTTPS; 0 is none. Default 443.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	HTTPSPort *int32 `json:"httpsPort,omitempty"`

	// publicPorts are the ports that clients use, where something in front of the
	// gateway leads from them to httpPort and httpsPort: backends are told them
	// in X-Forwarded-Port, and clients in redirects to HTTPS and in Alt-Svc.
	//
	// +optional
	PublicPorts *PublicPorts `json:"publicPorts,omitempty"`

	// proxyProtocol makes the gateway read the client's address from a PROXY
	// header (version 1 or 2), which a TCP load balancer sends before the first
	// byte of a connection. Without it none is expected.
	//
	// +optional
	ProxyProtocol *ProxyProtocol `json:"proxyProtocol,omitempty"`

	// trustedHops is how many proxies in front of the gateway are believed in
	// X-Forwarded-For. With 0 a client's own X-Forwarded-* are thrown away.
	// Default 0.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	TrustedHops *int32 `json:"trustedHops,omitempty"`

	// escapedSlashes is what becomes of a path that holds %2F or %5C: Redirect
	// answers 307 to the plain path, Reject answers 400, Keep forwards it as it
	// is. Default Redirect.
	//
	// +optional
	// +kubebuilder:validation:Enum=Redirect;Reject;Keep
	EscapedSlashes *string `json:"escapedSlashes,omitempty"`

	// repeatedSlashes is what a backend sees of a path with several slashes in a
	// row: Merge is one slash, Keep what the client sent. Its route is that of
	// the path with one slash either way. The annotation
	// fairway.dev/repeated-slashes of an Ingress wins. Default Merge.
	//
	// +optional
	// +kubebuilder:validation:Enum=Merge;Keep
	RepeatedSlashes *string `json:"repeatedSlashes,omitempty"`

	// underscoresInHeaders is what becomes of a request's headers with an
	// underscore in their name, which many backends read as a hyphen: Drop
	// forwards the request without them, Reject answers 400, Keep forwards them,
	// but for those that read as one of the gateway's own, such as
	// X_Forwarded_For. Default Drop.
	//
	// +optional
	// +kubebuilder:validation:Enum=Drop;Reject;Keep
	UnderscoresInHeaders *string `json:"underscoresInHeaders,omitempty"`

	// headerCase is how the names of headers are written over HTTP/1.1, to
	// clients as to backends: Lower is content-type, Title is Content-Type,
	// Preserve is as they came, where they came over HTTP/1.1. Default Lower.
	//
	// +optional
	// +kubebuilder:validation:Enum=Lower;Title;Preserve
	HeaderCase *string `json:"headerCase,omitempty"`

	// grpcWeb has backends that speak gRPC answer gRPC-Web, which is what
	// browsers can send of it. Default false.
	//
	// +optional
	GRPCWeb *bool `json:"grpcWeb,omitempty"`

	// serverHeader is what clients are told in the header Server of a response:
	// IfAbsent leaves that of the backend and adds "fairway" where it sent none,
	// PassThrough leaves that of the backend and adds none, Remove takes every
	// one away. Default IfAbsent.
	//
	// +optional
	// +kubebuilder:validation:Enum=IfAbsent;PassThrough;Remove
	ServerHeader *string `json:"serverHeader,omitempty"`

	// timeouts bound how long things may take.
	//
	// +optional
	Timeouts *Timeouts `json:"timeouts,omitempty"`

	// limits bound what a request and its response may hold.
	//
	// +optional
	Limits *Limits `json:"limits,omitempty"`

	// outlierDetection sets endpoints aside that cannot be connected to, so that
	// no request waits for them. The annotation fairway.dev/outlier-detection of a
	// Service switches it off for its own.
	//
	// +optional
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`

	// accessLog is what is written of each request.
	//
	// +optional
	AccessLog *AccessLog `json:"accessLog,omitempty"`

	// issuer is the Issuer that certificates are asked from for the Ingresses of
	// the gateway's classes: for those that name a Secret in spec.tls which does
	// not exist, or which Fairway made. The annotation fairway.dev/issuer of an
	// Ingress wins. Default: none.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Issuer *string `json:"issuer,omitempty"`

	// tls is how clients are spoken to over TLS. Its defaults are what browsers
	// and tools of the last ten years speak; whoever changes it narrows that.
	//
	// +optional
	TLS *TLS `json:"tls,omitempty"`
}

// PublicPorts are the ports that clients use.
type PublicPorts struct {
	// http is the port that clients use for HTTP. Default: that of the Service
	// which publishes the gateway, or else httpPort.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTP *int32 `json:"http,omitempty"`

	// https is the port that clients use for HTTPS and HTTP/3. Default: that of
	// the Service which publishes the gateway, or else httpsPort.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTPS *int32 `json:"https,omitempty"`
}

// ProxyProtocol is who sends PROXY headers.
type ProxyProtocol struct {
	// from are the addresses of the load balancers, as CIDR blocks ("10.0.0.0/8",
	// "192.0.2.7/32"). Connections from elsewhere are closed, for they could
	// claim to be anybody. Without any, every peer is believed: then only the
	// load balancers may be able to reach the gateway.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c))",message="must be CIDR blocks, such as 10.0.0.0/8"
	From []string `json:"from,omitempty"`

	// optional also takes connections without a PROXY header, whose client is
	// then the peer itself: for health checks, or while a load balancer is being
	// changed. Default false: they are closed.
	//
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// Duration is a number with a unit, or several: "90s", "1h30m", "250ms". "0s" is
// no limit, where that is allowed.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
type Duration string

// Timeouts bound how long things may take.
type Timeouts struct {
	// idle is how long a client's connection may stay without requests. Default
	// 5m, at least 1s.
	//
	// +optional
	Idle *Duration `json:"idle,omitempty"`

	// streamIdle is how long nothing may move in a request, in either direction;
	// 0s is no limit. Default 5m.
	//
	// +optional
	StreamIdle *Duration `json:"streamIdle,omitempty"`

	// requestHeaders is how long a request's headers may take to arrive, from
	// their first byte; 0s is no limit. Default 10s.
	//
	// +optional
	RequestHeaders *Duration `json:"requestHeaders,omitempty"`

	// request is how long a whole request may take to arrive; 0s is no limit.
	// Default 0s.
	//
	// +optional
	Request *Duration `json:"request,omitempty"`

	// connect is how long a connection to a backend may take, TLS included; at
	// least 10ms. Default 500ms, and 2s over TLS and to an ExternalName.
	//
	// +optional
	Connect *Duration `json:"connect,omitempty"`

	// upstreamIdle is how long an unused connection to a backend is kept. It has
	// to be shorter than the time after which backends close theirs. Default 4s,
	// at least 100ms.
	//
	// +optional
	UpstreamIdle *Duration `json:"upstreamIdle,omitempty"`
}

// Limits bound what a request and its response may hold.
type Limits struct {
	// requestBody is the largest body in bytes ("10Mi"), 413 beyond; 0 is no
	// limit. The annotation fairway.dev/max-request-body of an Ingress wins.
	// Default 0.
	//
	// +optional
	RequestBody *resource.Quantity `json:"requestBody,omitempty"`

	// requestHeaders is how large all headers of a request may be together, in
	// bytes ("64Ki"; whole Ki, from 1Ki to 8Mi); 431 beyond. Default 64Ki.
	//
	// +optional
	RequestHeaders *resource.Quantity `json:"requestHeaders,omitempty"`

	// requestHeaderCount is how many headers a request may have, 431 beyond.
	// Default 200.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	RequestHeaderCount *int32 `json:"requestHeaderCount,omitempty"`

	// responseHeaders is how large all headers of a backend's response may be
	// together, in bytes ("256Ki"; whole Ki, from 1Ki to 8Mi); 502 beyond.
	// Default 256Ki.
	//
	// +optional
	ResponseHeaders *resource.Quantity `json:"responseHeaders,omitempty"`

	// responseHeaderCount is how many headers a backend's response may have, 502
	// beyond. Default 1000.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	ResponseHeaderCount *int32 `json:"responseHeaderCount,omitempty"`
}

// OutlierDetection says when endpoints are set aside, and for how long. What they
// answer has no say in it.
type OutlierDetection struct {
	// enabled switches it. Default true.
	//
	// +optional
	Enabled *bool `json:"enabled,omitempty"`

	// baseEjectionTime is how long an endpoint is set aside for the first time;
	// each time more that it cannot be connected to adds as much. Default 10s, at
	// least 1s.
	//
	// +optional
	BaseEjectionTime *Duration `json:"baseEjectionTime,omitempty"`

	// maxEjectionTime is how long it is set aside at most. Default 2m, at least
	// baseEjectionTime.
	//
	// +optional
	MaxEjectionTime *Duration `json:"maxEjectionTime,omitempty"`
}

// AccessLog is one line of JSON for each request, on Envoy's standard output.
type AccessLog struct {
	// enabled switches it. Default true.
	//
	// +optional
	Enabled *bool `json:"enabled,omitempty"`

	// fields are what a line holds, in place of all. Default: all.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Fields []AccessLogField `json:"fields,omitempty"`

	// requestHeaders are headers of the request that a line also holds. Those
	// that carry credentials (Authorization, Cookie and the like) cannot be
	// among them.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	RequestHeaders []HeaderName `json:"requestHeaders,omitempty"`

	// responseHeaders are headers of the response that a line also holds;
	// Set-Cookie cannot be among them.
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

// GatewayConfigStatus is what became of the settings.
type GatewayConfigStatus struct {
	// conditions: Accepted says whether the settings are those of the gateway.
	// Where it is False, the gateway keeps the last that were accepted.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The condition of a GatewayConfig, and its reasons.
const (
	ConditionAccepted = "Accepted"

	ReasonAccepted = "Accepted" // in force, for as long as a class names it
	ReasonUnused   = "Unused"   // nothing is wrong with it, and no class of ours names it
	ReasonInvalid  = "Invalid"  // the message says which fields, and why
)
