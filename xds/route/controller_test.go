package route_test

import (
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/xds/route"
)

// What Kubernetes takes in spec.controller of an IngressClass, so do we.
func TestControllersThatAreRefused(t *testing.T) {
	for value, says := range map[route.Controller]string{
		route.ControllerName: "", "k8s.io/ingress-nginx": "", "fairway.dev/team/blue": "", "a/b": "",
		route.Controller("a.test/" + strings.Repeat("b", 243)): "",
		route.Controller("a.test/" + strings.Repeat("b", 244)): "has 251 letters, and can have 250",
		"":                  "is no DOMAIN/PATH, such as fairway.dev/ingress-controller",
		"fairway":           "is no DOMAIN/PATH",
		"/blue":             "is no DOMAIN/PATH",
		"fairway.dev/":      "is no DOMAIN/PATH",
		"Fairway.dev/b":     "is no DOMAIN/PATH",
		"fairway.dev/a b":   "is no DOMAIN/PATH",
		route.AnyController: "is no DOMAIN/PATH",
	} {
		err := value.Validate()
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", value, err, says)
		}
	}
}

// An Ingress is of one Controller at most, whatever Controllers there are.
func TestIngressesOfControllers(t *testing.T) {
	class := func(name, controller string, isDefault bool) *networkingv1.IngressClass {
		class := &networkingv1.IngressClass{}
		class.Name, class.Spec.Controller = name, controller
		if isDefault {
			class.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
		}
		return class
	}
	classes := []*networkingv1.IngressClass{
		class("public", route.ControllerName, false), class("blue", "fairway.dev/blue", true), class("nginx", "k8s.io/ingress-nginx", false),
	}
	named := func(name string) *networkingv1.Ingress {
		return &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &name}}
	}
	word := &networkingv1.Ingress{}
	word.Annotations = map[string]string{"kubernetes.io/ingress.class": route.WellKnownClass}
	all := []route.Controller{"", "fairway.dev/blue", "k8s.io/ingress-nginx", "fairway.dev/other"}
	for _, test := range []struct {
		name    string
		ing     *networkingv1.Ingress
		of      string // "-": of none
		fairway bool   // AnyController has it
	}{
		{"of the default one", named("public"), "", true},
		{"of another", named("blue"), "fairway.dev/blue", true},
		{"of a value that was another product's", named("nginx"), "k8s.io/ingress-nginx", false},
		{"without a class: the default class is of another", &networkingv1.Ingress{}, "fairway.dev/blue", true},
		{"the word without an IngressClass is the default one's", word, "", true},
		{"of a class that does not exist", named("none"), "-", false},
	} {
		for _, controller := range all {
			_, ours := route.NewClasses(classes, route.ClassOptions{Controller: controller}).Gateway(test.ing)
			if want := string(controller) == test.of; ours != want {
				t.Errorf("%s: of %s: %t, want %t", test.name, controller, ours, want)
			}
		}
		if _, ours := route.NewClasses(classes, route.ClassOptions{Controller: route.AnyController}).Gateway(test.ing); ours != test.fairway {
			t.Errorf("%s: Fairway's: %t, want %t", test.name, ours, test.fairway)
		}
	}
}

// One installation withdraws what it wrote only where another's class decides.
func TestAnIngressOfAnotherControllerIsForeign(t *testing.T) {
	class := &networkingv1.IngressClass{}
	class.Name, class.Spec.Controller = "blue", "fairway.dev/blue"
	ing := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &class.Name}}
	for controller, want := range map[route.Controller]bool{"": true, "fairway.dev/red": true, "fairway.dev/blue": false} {
		classes := route.NewClasses([]*networkingv1.IngressClass{class}, route.ClassOptions{Controller: controller})
		if got := classes.Foreign(ing); got != want {
			t.Errorf("%s: foreign %t, want %t", controller, got, want)
		}
	}
}

func TestAnIssuerWithoutControllerIsOfTheDefaultOne(t *testing.T) {
	for _, test := range []struct {
		controller route.Controller
		value      string
		want       bool
	}{
		{"", "", true}, {"", route.ControllerName, true}, {"", "fairway.dev/blue", false},
		{"fairway.dev/blue", "", false}, {"fairway.dev/blue", "fairway.dev/blue", true},
		{route.AnyController, "", true}, {route.AnyController, "fairway.dev/blue", true}, {route.AnyController, "k8s.io/ingress-nginx", false},
	} {
		if got := test.controller.OwnsIssuer(test.value); got != test.want {
			t.Errorf("%q owns an Issuer of %q: %t, want %t", test.controller, test.value, got, test.want)
		}
	}
}

// Of all installations whose classes name a gateway, one tells of its settings: each of
// them comes to the same conclusion.
func TestOneControllerSpeaksForAGateway(t *testing.T) {
	class := func(controller, config string) *networkingv1.IngressClass {
		class := &networkingv1.IngressClass{}
		class.Name, class.Spec.Controller = controller+" "+config, controller
		if config != "" {
			class.Spec.Parameters = &networkingv1.IngressClassParametersReference{
				APIGroup: new("fairway.dev"), Kind: route.KindClusterGatewayConfig, Name: config,
			}
		}
		return class
	}
	const usual, blue, nginx = route.ControllerName, "fairway.dev/blue", "k8s.io/ingress-nginx"
	for _, test := range []struct {
		name    string
		classes []*networkingv1.IngressClass
		gateway route.Gateway
		want    string
		nginx   string // if an installation with that value asks; empty: want
	}{
		{"nobody names it", nil, "inner", usual, ""},
		{"nobody names the default one", nil, route.DefaultGateway, usual, ""},
		{"the usual one does", []*networkingv1.IngressClass{class(blue, "inner"), class(usual, "inner")}, "inner", usual, ""},
		{"others do", []*networkingv1.IngressClass{class("fairway.dev/red", "inner"), class(blue, "inner")}, "inner", blue, ""},
		{"another product has a class without parameters", []*networkingv1.IngressClass{class(nginx, "")}, route.DefaultGateway, usual, nginx},
		{"another product's classes were taken over", []*networkingv1.IngressClass{class(nginx, "inner")}, "inner", nginx, ""},
		{"beside ours", []*networkingv1.IngressClass{class(nginx, "inner"), class(blue, "inner")}, "inner", blue, ""},
		{"they name others", []*networkingv1.IngressClass{class(blue, "outer")}, "inner", usual, ""},
	} {
		for _, asks := range []route.Controller{"", blue, "fairway.dev/red", nginx} {
			want := test.want
			if asks == nginx && test.nginx != "" {
				want = test.nginx
			}
			if got := asks.Speaker(test.classes, test.gateway); got != want {
				t.Errorf("%s: %s says %s, want %s", test.name, asks, got, want)
			}
		}
	}
}
