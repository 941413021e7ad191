package route_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/xds/route"
)

// The bits of a shape say which parts of the fuzzed objects are there.
const (
	hasPathType = 1 << iota
	hasPath
	hasHTTP
	hasDefault
	hasResource
	hasService
	hasPortName
	hasPortNumber
	hasAppProtocol
	hasSlice
	hasSlicePort
	hasAddress
	isUDP
	isExternal
	hasSecondRule
	hasTLS
	everything = 1<<iota - 1
)

// fields are the texts of one Ingress, its Service and its EndpointSlice.
type fields struct {
	host, path, pathType, service, portName string
	externalName, appProtocol, annotation   string
	address                                 string
	port                                    int32
	shape                                   uint32
}

func (f fields) has(bit uint32) bool { return f.shape&bit != 0 }

// FuzzBuild holds Build to its invariants whatever the fields say and whichever
// are missing.
func FuzzBuild(f *testing.F) {
	const whole = everything &^ (isUDP | isExternal | hasResource)
	for _, path := range []string{"/", "/a", "/a/", "a", "", "/a//b", "/a/..", "/a/../b", "/a/.", "/%2e%2e/a", "/%2F", "/a?b", "/a#b", `/a\b`, "/a/..;/b", "/%%32F", "/%", "/%zz", "/é", "/a b", "/a(/|$)(.*)", "/*", "/\x00"} {
		f.Add("shop.test", path, "Prefix", "web", "http", "", "http", "1Mi", "10.0.0.1", int32(80), uint32(whole))
		f.Add("*.shop.test", path, "Exact", "web", "", "", "grpc", "x", "fd00::1", int32(0), uint32(whole&^hasPortName))
		f.Add("", path, "ImplementationSpecific", "web", "http", "a.test", "", "0", "x", int32(80), uint32(everything))
	}
	for _, host := range []string{"*", "Shop.test", "shop.test.", "192.0.2.1", "::1", "shop.test:80", "*.*.test", "-.test", "münchen.test", "a..b", "xn--a"} {
		f.Add(host, "/", "Prefix", "web", "http", host, "https", "1", host, int32(-1), uint32(whole|isExternal))
	}
	for bit := uint32(1); bit <= everything; bit <<= 1 {
		f.Add("shop.test", "/a", "Prefix", "web", "http", "a.test", "http", "1Mi", "10.0.0.1", int32(80), everything&^bit)
		f.Add("shop.test", "/a", "Prefix", "web", "http", "a.test", "http", "1Mi", "10.0.0.1", int32(80), bit)
	}
	f.Fuzz(func(t *testing.T, host, path, pathType, service, portName, externalName, appProtocol, annotation, address string, port int32, shape uint32) {
		checkInvariants(t, fields{host, path, pathType, service, portName, externalName, appProtocol, annotation, address, port, shape}.world())
	})
}

func (f fields) world() world {
	return world{
		ingresses: []*networkingv1.Ingress{f.ingress()},
		services:  []*corev1.Service{f.serviceObject()},
		slices:    []*discoveryv1.EndpointSlice{f.slice()},
	}
}

func (f fields) ingress() *networkingv1.Ingress {
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace:   "ns",
		Name:        "ing",
		Annotations: map[string]string{route.AnnotationMaxRequestBody: f.annotation},
	}}
	rule := networkingv1.IngressRule{Host: f.host}
	if f.has(hasHTTP) {
		rule.HTTP = &networkingv1.HTTPIngressRuleValue{}
	}
	if f.has(hasHTTP) && f.has(hasPath) {
		path := networkingv1.HTTPIngressPath{Path: f.path, Backend: f.backend()}
		if f.has(hasPathType) {
			path.PathType = new(networkingv1.PathType(f.pathType))
		}
		rule.HTTP.Paths = append(rule.HTTP.Paths, path)
	}
	ing.Spec.Rules = append(ing.Spec.Rules, rule)
	if f.has(hasSecondRule) {
		ing.Spec.Rules = append(ing.Spec.Rules, rule, networkingv1.IngressRule{Host: "other.test", IngressRuleValue: rule.IngressRuleValue})
	}
	if f.has(hasDefault) {
		ing.Spec.DefaultBackend = new(f.backend())
	}
	if f.has(hasTLS) {
		ing.Spec.TLS = []networkingv1.IngressTLS{{}}
	}
	return ing
}

func (f fields) backend() networkingv1.IngressBackend {
	var backend networkingv1.IngressBackend
	if f.has(hasResource) {
		backend.Resource = &corev1.TypedLocalObjectReference{Kind: f.service, Name: f.service}
	}
	if f.has(hasService) {
		backend.Service = &networkingv1.IngressServiceBackend{Name: f.service}
		if f.has(hasPortName) {
			backend.Service.Port.Name = f.portName
		}
		if f.has(hasPortNumber) {
			backend.Service.Port.Number = f.port
		}
	}
	return backend
}

func (f fields) serviceObject() *corev1.Service {
	port := corev1.ServicePort{Name: f.portName, Port: f.port}
	if f.has(hasAppProtocol) {
		port.AppProtocol = &f.appProtocol
	}
	if f.has(isUDP) {
		port.Protocol = corev1.ProtocolUDP
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: f.service}}
	service.Spec.Ports = []corev1.ServicePort{port}
	if f.has(isExternal) {
		service.Spec.Type = corev1.ServiceTypeExternalName
		service.Spec.ExternalName = f.externalName
	}
	return service
}

func (f fields) slice() *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns",
		Name:      "slice",
		Labels:    map[string]string{discoveryv1.LabelServiceName: f.service},
	}}
	if f.has(hasSlicePort) {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &f.portName, Port: &f.port})
	} else {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{})
	}
	if f.has(hasSlice) {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{})
	}
	if f.has(hasAddress) {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{f.address, f.address}})
	}
	return slice
}

// FuzzManifests holds Build to its invariants on whatever can be read from
// YAML: shapes that nobody thought of.
func FuzzManifests(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	must(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(f, err)
		f.Add(section(txtar.Parse(text), "in.yaml"))
	}
	f.Fuzz(func(t *testing.T, manifests string) {
		checkInvariants(t, readable(manifests))
	})
}

// readable takes from a stream of manifests what can be read. As in a cluster,
// no two objects of a kind have the same name.
func readable(manifests string) world {
	var w world
	seen := map[string]bool{}
	for text := range strings.SplitSeq("\n"+manifests, "\n---\n") {
		var head metav1.PartialObjectMetadata
		if yaml.Unmarshal([]byte(text), &head) != nil || seen[head.Kind+"/"+nameOf(&head).String()] {
			continue
		}
		seen[head.Kind+"/"+nameOf(&head).String()] = true
		switch head.Kind {
		case "IngressClass":
			w.classes = keep(w.classes, text)
		case "Ingress":
			w.ingresses = keep(w.ingresses, text)
		case "Service":
			w.services = keep(w.services, text)
		case "EndpointSlice":
			w.slices = keep(w.slices, text)
		}
	}
	return w
}

// keep appends the object in text, if it can be read.
func keep[T any](objects []*T, text string) []*T {
	object := new(T)
	if yaml.Unmarshal([]byte(text), object) != nil {
		return objects
	}
	return append(objects, object)
}
