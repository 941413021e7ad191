package route

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// backendProtocol is the protocol of connections to the endpoints of a Service port.
type backendProtocol struct {
	protocol Protocol
	tls      bool
}

// backendProtocolOf reads an appProtocol, in any case and with or without Kubernetes' own
// prefix. known is false for a name that says nothing of HTTP (those of other vendors
// and of IANA are legal). It gets HTTP/1.1, as without an appProtocol.
func backendProtocolOf(port corev1.ServicePort) (s backendProtocol, known bool) {
	if port.AppProtocol == nil {
		return backendProtocol{}, true
	}
	s, known = appProtocols[strings.TrimPrefix(strings.ToLower(*port.AppProtocol), "kubernetes.io/")]
	return s, known
}

// appProtocols are those that are understood. Kubernetes defines h2c, ws and wss, IANA
// http and https. The others are names that service meshes and other controllers use.
var appProtocols = map[string]backendProtocol{
	"": {}, "http": {}, "http1": {}, "http/1.1": {}, "ws": {}, "grpc-web": {},
	"tcp": {}, // it says nothing of HTTP

	"h2c": {protocol: HTTP2}, "http2": {protocol: HTTP2}, "grpc": {protocol: HTTP2},

	"https": {HTTPAuto, true}, "tls": {HTTPAuto, true}, "ssl": {HTTPAuto, true},
	"wss":   {HTTP1, true},
	"grpcs": {HTTP2, true}, "h2": {HTTP2, true},
}
