package route

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// spoken is what is spoken to the endpoints of a Service port.
type spoken struct {
	protocol Protocol
	tls      bool
}

// spokenOf reads an appProtocol, in any case and with or without Kubernetes' own
// prefix. known is false for what says nothing of HTTP (other vendors' and IANA's
// names are legal): that gets HTTP/1.1, as without one.
func spokenOf(port corev1.ServicePort) (s spoken, known bool) {
	if port.AppProtocol == nil {
		return spoken{}, true
	}
	s, known = appProtocols[strings.TrimPrefix(strings.ToLower(*port.AppProtocol), "kubernetes.io/")]
	return s, known
}

// appProtocols are those that are understood. Kubernetes defines h2c, ws and wss,
// IANA http and https; the others are what service meshes and other controllers
// have made of them.
var appProtocols = map[string]spoken{
	"": {}, "http": {}, "http1": {}, "http/1.1": {}, "ws": {}, "grpc-web": {},
	"tcp": {}, // of whatever is above it, it says nothing

	"h2c": {protocol: HTTP2}, "http2": {protocol: HTTP2}, "grpc": {protocol: HTTP2},

	"https": {HTTPAuto, true}, "tls": {HTTPAuto, true}, "ssl": {HTTPAuto, true},
	"wss":   {HTTP1, true},
	"grpcs": {HTTP2, true}, "h2": {HTTP2, true},
}
