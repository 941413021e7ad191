package route_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/route"
)

func TestHostsOf(t *testing.T) {
	for _, test := range []struct {
		name, spec string
		want       []route.Hostname
	}{
		{"sorted and unique", `{rules: [{host: b.test}, {host: "*.a.test"}, {host: b.test}, {host: a.test}]}`, []route.Hostname{"*.a.test", "a.test", "b.test"}},
		{"a rule without host concerns the default host", `{rules: [{host: a.test}, {}]}`, []route.Hostname{"*", "a.test"}},
		{"a default backend concerns the default host", `{defaultBackend: {}, rules: [{host: a.test}]}`, []route.Hostname{"*", "a.test"}},
		{"invalid hosts are left out", `{rules: [{host: A.test}, {host: a.test}]}`, []route.Hostname{"a.test"}},
		{"an Ingress without valid host is heard under the default host", `{rules: [{host: A.test}]}`, []route.Hostname{"*"}},
		{"an empty Ingress is heard under the default host", `{}`, []route.Hostname{"*"}},
	} {
		ing := decoded[networkingv1.Ingress](t, "spec: "+test.spec)
		if diff := cmp.Diff(test.want, route.HostsOf(ing)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestServicesOf(t *testing.T) {
	ing := decoded[networkingv1.Ingress](t, `
metadata: {namespace: shop}
spec:
  defaultBackend: {service: {name: web}}
  rules:
  - {}
  - host: INVALID
    http: {paths: [{backend: {service: {name: cart}}}, {backend: {service: {name: web}}}]}
  - http: {paths: [{backend: {}}, {backend: {resource: {kind: Bucket, name: b}}}, {backend: {service: {name: ""}}}]}
`)
	want := []types.NamespacedName{{Namespace: "shop", Name: "cart"}, {Namespace: "shop", Name: "web"}}
	if diff := cmp.Diff(want, route.ServicesOf(ing)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPortsOf(t *testing.T) {
	port := func(name string, number int32) route.ServicePort {
		return route.ServicePort{Service: types.NamespacedName{Namespace: "shop", Name: name}, Port: number}
	}
	host := &route.Host{Routes: []route.Route{
		{Cluster: &route.Cluster{Port: port("web", 80)}},
		{Cluster: &route.Cluster{Port: port("web", 80), TLS: true}},
		{Cluster: &route.Cluster{Port: port("cart", 443)}},
		{Cluster: &route.Cluster{Port: port("far", 443), DNS: "far.test"}},
		{Status: 503},
	}}
	want := []route.ServicePort{port("cart", 443), port("web", 80)}
	if diff := cmp.Diff(want, route.PortsOf(host)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := route.PortsOf(nil); got != nil {
		t.Errorf("no host needs %v", got)
	}
}

// A key that no Ingress asks for has no Host, whatever Ingresses are given.
func TestNobodyAsksForHost(t *testing.T) {
	ing := decoded[networkingv1.Ingress](t, `spec: {rules: [{host: a.test}]}`)
	for _, host := range []route.Hostname{"b.test", "*.test", route.AnyHost} {
		key := route.Key{Gateway: route.DefaultGateway, Host: host}
		if got, problems := route.Build(key, route.Objects{Ingresses: []*networkingv1.Ingress{ing}}); got != nil || len(problems) > 0 {
			t.Errorf("%s: %v %v", key, got, problems)
		}
	}
}

// A path is bounded as request lines are.
func TestPathLength(t *testing.T) {
	for _, test := range []struct{ length, routes int }{{8000, 1}, {8001, 0}} {
		ing := decoded[networkingv1.Ingress](t, `spec: {rules: [{host: a.test, http: {paths: [{path: LONG, pathType: Exact}]}}]}`)
		ing.Spec.Rules[0].HTTP.Paths[0].Path = "/" + strings.Repeat("a", test.length-1)
		host, problems := route.Build(route.Key{Host: "a.test"}, route.Objects{Ingresses: []*networkingv1.Ingress{ing}})
		if len(host.Routes) != test.routes {
			t.Errorf("%d bytes: %d routes", test.length, len(host.Routes))
		}
		for _, p := range problems {
			if len(p.Message) > 300 {
				t.Errorf("%d bytes make a message of %d", test.length, len(p.Message))
			}
		}
	}
}

// Without any IngressClass the well-known word counts.
func TestWithoutClasses(t *testing.T) {
	ing := decoded[networkingv1.Ingress](t, `metadata: {annotations: {kubernetes.io/ingress.class: fairway}}`)
	if gateway, ours := route.NewClasses(nil, route.ClassOptions{}).Gateway(ing); gateway != route.DefaultGateway || !ours {
		t.Errorf("%q %v", gateway, ours)
	}
	if _, ours := route.NewClasses(nil, route.ClassOptions{}).Gateway(&networkingv1.Ingress{}); ours {
		t.Error("an Ingress without class is ours")
	}
}

// Reasons are a closed, documented set.
func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/problems.md")
	must(t, err)
	var documented []string
	for _, heading := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, heading[1])
	}
	for _, reason := range reasons(t) {
		if !slices.Contains(documented, reason) {
			t.Errorf("docs/problems.md has no heading for %s", reason)
		}
	}
}

// reasons are the values of the constants in reasons.go.
func reasons(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, 0)
	must(t, err)
	var found []string
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			must(t, err)
			found = append(found, text)
		}
		return true
	})
	return found
}

// Of two installations in a cluster, each can be told which classes are its.
func TestOnlyTheClassesOfThisInstallation(t *testing.T) {
	class := func(name string) *networkingv1.IngressClass {
		return decoded[networkingv1.IngressClass](t, `{metadata: {name: `+name+`}, spec: {controller: fairway.dev/ingress-controller}}`)
	}
	fallback := class("outer")
	fallback.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
	all := []*networkingv1.IngressClass{class("inner"), fallback}
	named := func(name string) *networkingv1.Ingress {
		return &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &name}}
	}
	word := decoded[networkingv1.Ingress](t, `metadata: {annotations: {kubernetes.io/ingress.class: fairway}}`)
	for _, test := range []struct {
		name string
		only []string
		ing  *networkingv1.Ingress
		ours bool
	}{
		{"all are", nil, named("outer"), true},
		{"the one is", []string{"inner"}, named("inner"), true},
		{"the other is not", []string{"inner"}, named("outer"), false},
		{"nor if it is the default", []string{"inner"}, &networkingv1.Ingress{}, false},
		{"the default is, if it is the one", []string{"outer"}, &networkingv1.Ingress{}, true},
		{"the well-known word is nobody's", []string{"inner"}, word, false},
		{"unless it is the one", []string{"fairway"}, word, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			classes := route.NewClasses(all, route.ClassOptions{Only: test.only})
			if _, ours := classes.Gateway(test.ing); ours != test.ours {
				t.Errorf("ours: %t, want %t", ours, test.ours)
			}
		})
	}
}
