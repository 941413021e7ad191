package route_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairwaynet/fairway/xds/route"
)

func TestPublishedPorts(t *testing.T) {
	tcp := func(name string, port int32, target intstr.IntOrString) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: port, TargetPort: target, NodePort: 30000 + port%1000}
	}
	udp := func(name string, port int32, target intstr.IntOrString) corev1.ServicePort {
		p := tcp(name, port, target)
		p.Protocol = corev1.ProtocolUDP
		return p
	}
	number, name := intstr.FromInt32, intstr.FromString
	for _, c := range []struct {
		name  string
		ports []corev1.ServicePort
		want  route.PublicPorts
	}{
		{"no Service", nil, route.PublicPorts{}},
		{"what config installs", []corev1.ServicePort{tcp("http", 80, name("http")), tcp("https", 443, name("https"))}, route.PublicPorts{HTTP: 80, HTTPS: 443}},
		{"with HTTP/3", []corev1.ServicePort{tcp("http", 80, name("http")), tcp("https", 443, name("https")), udp("http3", 444, name("http3"))}, route.PublicPorts{HTTP: 80, HTTPS: 443, HTTP3: 444}},
		{"by number", []corev1.ServicePort{tcp("a", 8000, number(8080)), tcp("b", 9443, number(8443)), udp("c", 9444, number(8443))}, route.PublicPorts{HTTP: 8000, HTTPS: 9443, HTTP3: 9444}},
		{"without targetPort", []corev1.ServicePort{tcp("a", 8080, intstr.IntOrString{}), tcp("b", 8443, intstr.IntOrString{})}, route.PublicPorts{HTTP: 8080, HTTPS: 8443}},
		{"without protocol", []corev1.ServicePort{{Port: 81, TargetPort: number(8080)}}, route.PublicPorts{HTTP: 81}},
		{"other names of pods", []corev1.ServicePort{tcp("http", 8000, name("web")), tcp("https", 8001, name("websecure"))}, route.PublicPorts{HTTP: 8000, HTTPS: 8001}},
		{"names that say nothing", []corev1.ServicePort{tcp("a", 80, name("web")), tcp("b", 443, name("websecure")), tcp("c", 9000, name("admin"))}, route.PublicPorts{HTTP: 80, HTTPS: 443}},
		{"several: the well-known one", []corev1.ServicePort{tcp("a", 8000, number(8080)), tcp("b", 80, number(8080))}, route.PublicPorts{HTTP: 80}},
		{"several: the first", []corev1.ServicePort{tcp("a", 8001, number(8080)), tcp("b", 8000, number(8080))}, route.PublicPorts{HTTP: 8001}},
		{"the number before the name", []corev1.ServicePort{tcp("http", 80, name("http")), tcp("b", 8000, number(8080))}, route.PublicPorts{HTTP: 8000}},
		{"TLS ends in front", []corev1.ServicePort{tcp("http", 80, name("http")), tcp("tls", 443, name("http"))}, route.PublicPorts{HTTP: 80, HTTPS: 443}},
		{"TLS ends in front, by number", []corev1.ServicePort{tcp("a", 80, number(8080)), tcp("b", 443, number(8080))}, route.PublicPorts{HTTP: 80, HTTPS: 443}},
		{"another program's ports", []corev1.ServicePort{tcp("http", 8000, number(9090)), udp("dns", 53, number(8080))}, route.PublicPorts{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := route.DefaultSettings()
			s.HTTPPort, s.HTTPSPort = 8080, 8443
			if diff := cmp.Diff(c.want, route.PublishedPorts(c.ports, s)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPublicPorts(t *testing.T) {
	type ports struct{ http, https, http3 uint16 }
	for _, c := range []struct {
		name              string
		public, published route.PublicPorts
		binds, binding    uint16
		want              ports
	}{
		{"nothing in front", route.PublicPorts{}, route.PublicPorts{}, 8080, 8443, ports{8080, 8443, 8443}},
		{"a Service", route.PublicPorts{}, route.PublicPorts{HTTP: 80, HTTPS: 443}, 8080, 8443, ports{80, 443, 443}},
		{"a Service with HTTP/3", route.PublicPorts{}, route.PublicPorts{HTTP: 80, HTTPS: 443, HTTP3: 444}, 8080, 8443, ports{80, 443, 444}},
		{"configured", route.PublicPorts{HTTP: 1, HTTPS: 2}, route.PublicPorts{HTTP: 80, HTTPS: 443, HTTP3: 444}, 8080, 8443, ports{1, 2, 2}},
		{"one of them", route.PublicPorts{HTTPS: 2}, route.PublicPorts{HTTP: 80, HTTPS: 443}, 8080, 8443, ports{80, 2, 2}},
		{"no listeners", route.PublicPorts{}, route.PublicPorts{}, 0, 0, ports{80, 443, 443}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := route.Settings{Public: c.public, Published: c.published, HTTPPort: c.binds, HTTPSPort: c.binding}
			if got := (ports{s.PublicHTTP(), s.PublicHTTPS(), s.PublicHTTP3()}); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
