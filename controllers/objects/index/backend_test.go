package index_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

func TestBackends(t *testing.T) {
	port := networkingv1.ServiceBackendPort{Number: 80}
	to := func(name string) networkingv1.IngressBackend {
		return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name, Port: port}}
	}
	first := to("default")
	ing := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{DefaultBackend: &first, Rules: []networkingv1.IngressRule{
		{Host: "no.paths"},
		{IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{
			{Backend: to("web")}, {Backend: networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{}}}, {Backend: to("web")},
		}}}},
	}}}
	want := []networkingv1.IngressServiceBackend{{Name: "default", Port: port}, {Name: "web", Port: port}, {Name: "web", Port: port}}
	if diff := cmp.Diff(want, index.Backends(ing)); diff != "" {
		t.Errorf("backends (-want +got):\n%s", diff)
	}
	if got := index.Backends(&networkingv1.Ingress{}); got != nil {
		t.Errorf("of an Ingress that asks for nothing: %v", got)
	}
}

func TestWhichPortABackendNames(t *testing.T) {
	service := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Port: 443}}}}
	service.Namespace, service.Name = "shop", "web"
	for _, test := range []struct {
		port networkingv1.ServiceBackendPort
		want bool
	}{
		{networkingv1.ServiceBackendPort{Name: "http"}, true},
		{networkingv1.ServiceBackendPort{Number: 80}, true},
		{networkingv1.ServiceBackendPort{Number: 443}, true},
		{networkingv1.ServiceBackendPort{Name: "HTTP"}, false},
		{networkingv1.ServiceBackendPort{Name: "80"}, false},
		{networkingv1.ServiceBackendPort{Number: 8080}, false},
		{networkingv1.ServiceBackendPort{Name: "admin", Number: 80}, false}, // the name counts
		{networkingv1.ServiceBackendPort{}, false},
	} {
		if got := index.Offers(service, test.port); got != test.want {
			t.Errorf("%+v: %t", test.port, got)
		}
	}
	if got := fmt.Sprint(index.Ports(service)); got != fmt.Sprint([]route.ServicePort{{Service: in("shop", "web"), Port: 80}, {Service: in("shop", "web"), Port: 443}}) {
		t.Errorf("ports %s", got)
	}
	if got := index.Ports(&corev1.Service{}); len(got) != 0 {
		t.Errorf("ports of a Service without any: %v", got)
	}
}
