package ingress_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/test/fairway"
)

// A port is the Service's, by number or by name; where the pods listen is the
// slices' business.
func testPorts(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	ip := r.Address()
	fairway.Serve(t, ip, 7001, fairway.Named("web"))
	fairway.Serve(t, ip, 7002, fairway.Named("admin"))
	service := fairway.Service("shop")
	service.Spec.ClusterIP = ""
	service.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80}, {Name: "admin", Port: 7001}}
	endpoints := fairway.Slice("shop", ip)
	endpoints.Ports = []discoveryv1.EndpointPort{
		{Name: new("admin"), Port: new(int32(7002))}, {Name: new("web"), Port: new(int32(7001))},
	}
	rules := withRules("shop", rule("ports.test", "/web", "shop", "/admin", "shop", "/7001", "shop"))
	port := func(i int, port networkingv1.ServiceBackendPort) {
		rules.Spec.Rules[0].HTTP.Paths[i].Backend.Service.Port = port
	}
	port(0, networkingv1.ServiceBackendPort{Name: "web"})
	port(1, networkingv1.ServiceBackendPort{Name: "admin"})
	port(2, networkingv1.ServiceBackendPort{Number: 7001})
	s.create(service, endpoints, rules)

	s.eventually("ports.test", "/web", "web")
	s.eventually("ports.test", "/admin", "admin")
	s.eventually("ports.test", "/7001", "admin")

	// The Service gives the name to another number, the slices follow.
	change(s, service, func(o *corev1.Service) { o.Spec.Ports[0].Port = 8080 })
	s.eventually("ports.test", "/web", "web")
	s.now("ports.test", "/admin", "admin")
	change(s, endpoints, func(o *discoveryv1.EndpointSlice) { o.Ports[1].Port = new(int32(7002)) })
	s.eventually("ports.test", "/web", "admin")
}

// Services of every type are served.
func testServices(t *testing.T, r *fairway.Installation) {
	types := map[string]corev1.ServiceSpec{
		"cluster-ip":    {Type: corev1.ServiceTypeClusterIP},
		"node-port":     {Type: corev1.ServiceTypeNodePort},
		"load-balancer": {Type: corev1.ServiceTypeLoadBalancer},
		"headless":      {ClusterIP: corev1.ClusterIPNone},
		"dual-stack":    {IPFamilyPolicy: new(corev1.IPFamilyPolicyRequireDualStack)},
	}
	for name, spec := range types {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, r)
			service := fairway.Service(name)
			spec.Ports = service.Spec.Ports
			service.Spec = spec
			s.create(service, fairway.Slice(name, s.endpoint(name)),
				withRules("shop", rule(name+".services.test", "/", name)))
			s.eventually(name+".services.test", "/", name)
		})
	}
	t.Run("external name", func(t *testing.T) { testExternalName(t, r) })
}

// ExternalName is resolved by the gateway; it can become a plain Service and
// turn back.
func testExternalName(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	address := r.Address() // one that is not local; a test of xds/envoy has names resolved
	fairway.Serve(t, address, 7080, fairway.Named("far away"))
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "far"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: address},
	}
	rules := withRules("shop", rule("external.test", "/", "far"))
	rules.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port.Number = 7080
	s.create(service, rules)
	s.eventually("external.test", "/", "far away")

	s.create(fairway.Slice("far", s.endpoint("near")))
	change(s, service, func(o *corev1.Service) {
		o.Spec = corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "http", Port: 7080}}}
	})
	s.eventually("external.test", "/", "near")
	change(s, service, func(o *corev1.Service) {
		o.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: address}
	})
	s.eventually("external.test", "/", "far away")

	// What leads to the gateway's own machine is not served, known as such or resolved.
	fairway.Serve(t, "127.0.0.1", 7080, fairway.Named("the gateway's own"))
	for _, name := range []string{"localhost", "127.0.0.1", "localhost."} {
		change(s, service, func(o *corev1.Service) { o.Spec.ExternalName = name })
		s.eventually("external.test", "/", unavailable)
	}
}

// Ready endpoints get the traffic, draining ones only where there is no ready
// one, and with neither the answer is 503.
func testEndpoints(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	first, second, third := s.endpoint("first"), s.endpoint("second"), s.endpoint("third")
	one := slice("shop", "ready", first)
	two := slice("shop", "not ready", second)
	two.Name = "shop-2"
	s.create(fairway.Service("shop"), one, two, withRules("shop", rule("endpoints.test", "/", "shop")))
	s.eventually("endpoints.test", "/", "first")

	become := func(o *discoveryv1.EndpointSlice, condition string) {
		t.Helper()
		change(s, o, func(o *discoveryv1.EndpointSlice) { o.Endpoints[0].Conditions = conditions(condition) })
	}
	become(one, "draining")
	become(two, "ready")
	s.eventually("endpoints.test", "/", "second")
	for range 20 {
		s.now("endpoints.test", "/", "second")
	}
	become(two, "gone")
	s.eventually("endpoints.test", "/", "first") // it still serves
	become(one, "gone")
	s.eventually("endpoints.test", "/", unavailable)
	become(two, "ready")
	s.eventually("endpoints.test", "/", "second")

	// The address moves, and then the slice to another Service.
	change(s, two, func(o *discoveryv1.EndpointSlice) { o.Endpoints[0].Addresses = []string{third} })
	s.eventually("endpoints.test", "/", "third")
	change(s, two, func(o *discoveryv1.EndpointSlice) { o.Labels[discoveryv1.LabelServiceName] = "another" })
	s.eventually("endpoints.test", "/", unavailable)
	s.delete(two)
	s.create(func() *discoveryv1.EndpointSlice {
		again := slice("shop", "ready", first)
		again.Name = "shop-3"
		return again
	}())
	s.eventually("endpoints.test", "/", "first")
}

// A backend that is not there costs its path and nothing else: no other path of
// the host, and no request of it goes to somebody who did not expect it.
func testMissingBackends(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("shop", "wildcard")
	pay := fairway.Service("pay")
	rules := withRules("shop", rule("missing.test", "/", "shop", "/pay", "pay", "/port", "shop"))
	rules.Spec.Rules[0].HTTP.Paths[2].Backend.Service.Port.Number = 81
	wildcard := withRules("wildcard",
		rule("*.test", "/", "wildcard"), rule("", "/", "wildcard"))
	s.create(rules, wildcard)
	s.eventually("missing.test", "/", "shop")
	s.eventually("other.test", "/", "wildcard")
	s.eventually("elsewhere.example", "/", "wildcard")
	s.eventually("missing.test", "/pay", unavailable)
	s.eventually("missing.test", "/pay/card", unavailable)
	s.eventually("missing.test", "/port", unavailable)

	s.create(pay)
	s.now("missing.test", "/pay", unavailable) // without endpoints
	endpoints := fairway.Slice("pay", s.endpoint("pay"))
	s.create(endpoints)
	s.eventually("missing.test", "/pay", "pay")
	s.now("missing.test", "/", "shop")
	s.now("missing.test", "/port", unavailable)

	shop := fairway.Service("shop")
	shop.Namespace = s.namespace
	change(s, shop, func(o *corev1.Service) {
		o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{Name: "http2", Port: 81})
	})
	change(s, named(s, fairway.Slice("shop")), func(o *discoveryv1.EndpointSlice) {
		o.Ports = append(o.Ports, discoveryv1.EndpointPort{Name: new("http2"), Port: new(int32(fairway.BackendPort))})
	})
	s.eventually("missing.test", "/port", "shop")

	s.delete(pay)
	s.eventually("missing.test", "/pay", unavailable)
	s.now("missing.test", "/", "shop")
	s.now("missing.test", "/port", "shop")
	s.delete(wildcard)
	s.eventually("elsewhere.example", "/", notFound)
	s.eventually("other.test", "/", notFound)
	s.now("missing.test", "/pay", unavailable)
}

// named is a slice of the site, for change.
func named(s *site, o *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	o.Namespace = s.namespace
	return o
}
