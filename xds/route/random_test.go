package route_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Small pools, so that rules meet one another.
var (
	poolHosts    = []string{"", "a.test", "b.test", "*.a.test", "x.a.test", "*.x.a.test", "BAD"}
	poolSegments = []string{"a", "b", "ab", "a.b"}
	poolTypes    = []networkingv1.PathType{networkingv1.PathTypeExact, networkingv1.PathTypePrefix, networkingv1.PathTypeImplementationSpecific}
)

// randomWorld is a few Ingresses over few hosts and paths. Every path has a
// Service port of its own, so that an answer tells which rule gave it.
func randomWorld(random *rand.Rand) world {
	g := generator{random: random}
	var w world
	for i := range 1 + random.IntN(6) {
		ing := g.ingress(fmt.Sprintf("ns%d", random.IntN(2)), fmt.Sprintf("ing%d", i))
		w.ingresses = append(w.ingresses, ing)
	}
	for _, namespace := range []string{"ns0", "ns1"} {
		w.services = append(w.services, g.service(namespace))
		for i := range 3 {
			w.slices = append(w.slices, g.slice(namespace, i))
		}
	}
	return w
}

type generator struct {
	random *rand.Rand
	ports  int32
}

func (g *generator) ingress(namespace, name string) *networkingv1.Ingress {
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace:         namespace,
		Name:              name,
		CreationTimestamp: metav1.Unix(int64(g.random.IntN(3)), 0),
	}}
	if g.random.IntN(3) == 0 {
		backend := g.backend()
		ing.Spec.DefaultBackend = &backend
	}
	if g.random.IntN(4) == 0 {
		ing.Annotations = map[string]string{"fairway.dev/unknown": "", "fairway.dev/max-request-body": "1Mi", "fairway.dev/repeated-slashes": "Keep"}
	}
	for range g.random.IntN(4) {
		ing.Spec.Rules = append(ing.Spec.Rules, g.rule())
	}
	return ing
}

func (g *generator) rule() networkingv1.IngressRule {
	rule := networkingv1.IngressRule{Host: pick(g.random, poolHosts)}
	if g.random.IntN(8) == 0 {
		return rule
	}
	rule.HTTP = &networkingv1.HTTPIngressRuleValue{}
	for range 1 + g.random.IntN(4) {
		rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{
			Path:     randomPath(g.random),
			PathType: new(pick(g.random, poolTypes)),
			Backend:  g.backend(),
		})
	}
	return rule
}

func (g *generator) backend() networkingv1.IngressBackend {
	g.ports++
	name := "web"
	if g.random.IntN(10) == 0 {
		name = "gone"
	}
	return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: name,
		Port: networkingv1.ServiceBackendPort{Number: g.ports},
	}}
}

// service has every port that a backend was given.
func (g *generator) service(namespace string) *corev1.Service {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}}
	for number := range g.ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: portName(number + 1), Port: number + 1})
	}
	return service
}

func (g *generator) slice(namespace string, at int) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace,
		Name:      fmt.Sprintf("web-%d", at),
		Labels:    map[string]string{discoveryv1.LabelServiceName: "web"},
	}}
	for number := range g.ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(portName(number + 1)), Port: new(8000 + number)})
	}
	for range g.random.IntN(4) {
		addresses := []string{"10.0.0.%d", "fd00::%d", "bad"}
		text := pick(g.random, addresses)
		if strings.Contains(text, "%d") {
			text = fmt.Sprintf(text, 1+g.random.IntN(5))
		}
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{text},
			Zone:      pick(g.random, []*string{nil, new("z1"), new("z2")}),
			Conditions: discoveryv1.EndpointConditions{
				Ready:       pick(g.random, []*bool{nil, new(true), new(false)}),
				Serving:     pick(g.random, []*bool{nil, new(true), new(false)}),
				Terminating: pick(g.random, []*bool{nil, new(true), new(false)}),
			},
		})
	}
	return slice
}

func portName(number int32) string { return fmt.Sprintf("p%d", number) }

// randomPath is up to three segments, with or without a slash at the end.
func randomPath(random *rand.Rand) string {
	path := ""
	for range random.IntN(4) {
		path += "/" + pick(random, poolSegments)
	}
	if path == "" || random.IntN(3) == 0 {
		path += "/"
	}
	return path
}

func pick[T any](random *rand.Rand, pool []T) T { return pool[random.IntN(len(pool))] }

// seeded returns a source whose seed a failing test can print and be given.
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// freshSeed differs from run to run.
func freshSeed() uint64 { return uint64(time.Now().UnixNano()) }
