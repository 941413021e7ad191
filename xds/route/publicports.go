package route

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The ports of HTTP and HTTPS, which URLs need not name.
const (
	wellKnownHTTP  = 80
	wellKnownHTTPS = 443
)

// PublicPorts are the ports that clients use; 0: unknown. They may differ from the ports
// that Envoy binds: a Service or a load balancer in front maps one to the other.
type PublicPorts struct {
	HTTP, HTTPS uint16
	// HTTP3 is the UDP port of HTTP/3.
	HTTP3 uint16
}

// PublicHTTP is the port that clients use for HTTP.
func (s Settings) PublicHTTP() uint16 {
	return cmp.Or(s.Public.HTTP, s.Published.HTTP, s.HTTPPort, wellKnownHTTP)
}

// PublicHTTPS is the port that clients use for HTTPS: the one in redirects.
func (s Settings) PublicHTTPS() uint16 {
	return cmp.Or(s.Public.HTTPS, s.Published.HTTPS, s.HTTPSPort, wellKnownHTTPS)
}

// PublicHTTP3 is the port that clients use for HTTP/3: the one in Alt-Svc.
func (s Settings) PublicHTTP3() uint16 {
	return cmp.Or(s.Public.HTTPS, s.Published.HTTP3, s.PublicHTTPS())
}

// PublishedPorts are the ports at which a Service with all these ports publishes the
// listeners of a gateway with the settings.
//
// A port leads to the listener whose number is its targetPort. Only pods know the number
// of a targetPort that is a name. Then the names "http", "https" and "http3" count, of
// the targetPort or of the port. If no port leads to a listener, the well-known port
// does: a proxy in front may end TLS.
func PublishedPorts(all []corev1.ServicePort, s Settings) PublicPorts {
	return PublicPorts{
		HTTP:  publishedPort(all, corev1.ProtocolTCP, s.HTTPPort, wellKnownHTTP, "http"),
		HTTPS: publishedPort(all, corev1.ProtocolTCP, s.HTTPSPort, wellKnownHTTPS, "https"),
		HTTP3: publishedPort(all, corev1.ProtocolUDP, s.HTTPSPort, wellKnownHTTPS, "http3", "https"),
	}
}

// publishedPort is the port that leads to the listener which binds a number, 0 if
// there is none. Of several it is the well-known one, or else the first.
func publishedPort(all []corev1.ServicePort, protocol corev1.Protocol, binds, wellKnown uint16, names ...string) uint16 {
	leads := func(p corev1.ServicePort) bool {
		return binds != 0 && p.TargetPort.Type == intstr.Int && cmp.Or(p.TargetPort.IntVal, p.Port) == int32(binds)
	}
	isCalled := func(p corev1.ServicePort) bool {
		return p.TargetPort.Type == intstr.String && (slices.Contains(names, p.TargetPort.StrVal) || slices.Contains(names, p.Name))
	}
	isWellKnown := func(p corev1.ServicePort) bool { return p.Port == int32(wellKnown) }
	for _, holds := range []func(corev1.ServicePort) bool{leads, isCalled, isWellKnown} {
		found := slices.DeleteFunc(slices.Clone(all), func(p corev1.ServicePort) bool {
			return cmp.Or(p.Protocol, corev1.ProtocolTCP) != protocol || !holds(p)
		})
		if len(found) > 0 {
			return uint16(found[max(0, slices.IndexFunc(found, isWellKnown))].Port)
		}
	}
	return 0
}
