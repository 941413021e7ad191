package route_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/xds/route"
)

// plainWorld has n Ingresses with a host, two paths and a Service each.
func plainWorld(n int) world {
	var w world
	for i := range n {
		name := fmt.Sprintf("app-%05d", i)
		w.ingresses = append(w.ingresses, ingressOf(name, name+".bench.test", "/", "/api"))
		w.services = append(w.services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		})
	}
	return w
}

func ingressOf(service, host string, paths ...string) *networkingv1.Ingress {
	rule := networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{}}}
	for _, path := range paths {
		rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{
			Path:     path,
			PathType: new(networkingv1.PathTypePrefix),
			Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
				Name: service,
				Port: networkingv1.ServiceBackendPort{Number: 80},
			}},
		})
	}
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: service},
		Spec:       networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{rule}},
	}
}

// BenchmarkBuildHost builds one host of one Ingress with so many paths.
func BenchmarkBuildHost(b *testing.B) {
	for _, paths := range []int{2, 100, 1000} {
		b.Run(fmt.Sprintf("paths=%d", paths), func(b *testing.B) {
			w := plainWorld(1)
			var names []string
			for i := range paths {
				names = append(names, fmt.Sprintf("/path/%d", i))
			}
			w.ingresses[0] = ingressOf("app-00000", "app.bench.test", names...)
			objs := route.Objects{Ingresses: w.ingresses, Services: w.servicesByName()}
			b.ReportAllocs()
			for b.Loop() {
				host, _ := route.Build(route.Key{Host: "app.bench.test"}, objs)
				if len(host.Routes) != paths {
					b.Fatalf("%d routes", len(host.Routes))
				}
			}
		})
	}
}

// BenchmarkBuildManyHosts builds one host of an Ingress that has 1,000.
func BenchmarkBuildManyHosts(b *testing.B) {
	w := plainWorld(1000)
	one := w.ingresses[0]
	for _, ing := range w.ingresses[1:] {
		one.Spec.Rules = append(one.Spec.Rules, ing.Spec.Rules...)
	}
	objs := route.Objects{Ingresses: w.ingresses[:1], Services: w.servicesByName()}
	b.ReportAllocs()
	for b.Loop() {
		route.Build(route.Key{Host: "app-00500.bench.test"}, objs)
	}
}

// BenchmarkBuildFresh finds and builds all keys of a fresh start.
func BenchmarkBuildFresh(b *testing.B) {
	for _, hosts := range []int{10_000, 50_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			w := plainWorld(hosts)
			b.ReportAllocs()
			for b.Loop() {
				services := w.servicesByName()
				for key, ingresses := range w.keys() {
					route.Build(key, route.Objects{Ingresses: ingresses, Services: services})
				}
			}
		})
	}
}
