package fairway

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Namespace is the namespace of this package's objects.
const Namespace = "default"

// Class is an IngressClass of Fairway's.
func Class(name string) *networkingv1.IngressClass {
	return &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       networkingv1.IngressClassSpec{Controller: "fairway.dev/ingress-controller"},
	}
}

// BackendPort is the port of all backends, each on its own address.
const BackendPort = 9000

// Backend serves HTTP on an address of Network until the test ends, or stop is
// called. Every answer has its name in the header Backend.
func Backend(t testing.TB, name, ip string) (stop func()) {
	t.Helper()
	return Serve(t, ip, BackendPort, Named(name))
}

// Named is the handler of Backend. Every answer holds its name and the request as
// it arrived.
func Named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only the client's view counts
		w.Header().Set("Backend", name)
		w.Header().Set("Method", r.Method)
		w.Header().Set("Host-Was", r.Host)
		w.Header().Set("Port-Was", r.Header.Get("X-Forwarded-Port"))
		w.Header().Set("Path", r.URL.Path)
		w.Header().Set("Proto", r.Proto)
		w.Header()["Client"] = r.Header["X-Forwarded-Client-Cert"]
	})
}

// Serve serves handler over HTTP/1.1 and HTTP/2 without TLS until the test
// ends, or stop is called.
func Serve(t testing.TB, ip string, port int, handler http.Handler) (stop func()) {
	t.Helper()
	l := listen(t, ip, port)
	server := &http.Server{Handler: handler, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	stop = func() { _ = server.Close(); <-done }
	t.Cleanup(stop)
	return stop
}

// Listen listens on the port of backends at an address of Network.
func Listen(t testing.TB, ip string) net.Listener {
	t.Helper()
	return listen(t, ip, BackendPort)
}

func listen(t testing.TB, ip string, port int) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Service is a headless Service with the port 80, called "http". (The API server
// handles headless Services five times as fast as those with cluster IPs.)
func Service(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone,
			Ports:     []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	}
}

// Slice is an EndpointSlice of a Service with the addresses of backends, all of
// them ready.
func Slice(service string, ips ...string) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: Namespace, Name: service,
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(BackendPort))}},
	}
	for _, ip := range ips {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}})
	}
	return slice
}

// Ingress routes a host to port 80 of a Service.
func Ingress(name, class, host, path, service string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name},
		Spec: networkingv1.IngressSpec{
			IngressClassName: &class,
			Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{
				HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{Path(path, service)}},
			}}},
		},
	}
}

// Path is a path of an Ingress of type Prefix.
func Path(path, service string) networkingv1.HTTPIngressPath {
	return networkingv1.HTTPIngressPath{
		Path: path, PathType: new(networkingv1.PathTypePrefix),
		Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
			Name: service, Port: networkingv1.ServiceBackendPort{Number: 80},
		}},
	}
}
