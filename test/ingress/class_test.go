package ingress_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
)

// classOf is an IngressClass of a controller.
func classOf(name, controller string) *networkingv1.IngressClass {
	c := fairway.Class(name)
	c.Spec.Controller = controller
	return c
}

const (
	ours   = "fairway.dev/ingress-controller"
	theirs = "example.com/ingress-controller"

	classAnnotation = "kubernetes.io/ingress.class"
)

// An Ingress is ours while its class is, whatever came first.
func testClasses(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("shop", "guard")
	of := func(name, class string) *networkingv1.Ingress {
		i := withRules(name, rule(name+".classes.test", "/", "shop"))
		i.Spec.IngressClassName = &class
		return i
	}
	annotated := func(name, class string) *networkingv1.Ingress {
		i := of(name, "")
		i.Spec.IngressClassName = nil
		i.Annotations = map[string]string{classAnnotation: class}
		return i
	}
	foreign := classOf("foreign", theirs)
	later := classOf("later", ours)
	s.create(foreign, of("ours", class), of("foreign", "foreign"), of("later", "later"),
		annotated("annotated", class), annotated("word", "fairway"), annotated("stranger", "nginx"))
	unclassed := of("unclassed", "")
	unclassed.Spec.IngressClassName = nil
	s.create(unclassed)

	s.eventually("ours.classes.test", "/", "shop")
	s.eventually("annotated.classes.test", "/", "shop")
	s.eventually("word.classes.test", "/", "shop")
	neverOurs := func() {
		t.Helper()
		for _, name := range []string{"foreign", "stranger", "unclassed"} {
			s.now(name+".classes.test", "/", notFound)
		}
	}
	neverOurs()
	s.now("later.classes.test", "/", notFound)

	s.create(later)
	s.eventually("later.classes.test", "/", "shop")
	s.delete(later)
	s.eventually("later.classes.test", "/", notFound)
	// A class never changes its controller, but a new one may have its name.
	again := classOf("later", theirs)
	s.create(again)
	s.now("later.classes.test", "/", notFound)
	s.delete(again)
	s.create(classOf("later", ours))
	s.eventually("later.classes.test", "/", "shop")

	// The word "fairway" is a class of ours only while it is nobody else's.
	word := classOf("fairway", theirs)
	s.create(word)
	s.eventually("word.classes.test", "/", notFound)
	s.delete(word)
	s.eventually("word.classes.test", "/", "shop")

	// An Ingress changes its class.
	moving := of("moving", "foreign")
	s.create(moving)
	change(s, moving, func(o *networkingv1.Ingress) { o.Spec.IngressClassName = new(class) })
	s.eventually("moving.classes.test", "/", "shop")
	change(s, moving, func(o *networkingv1.Ingress) { o.Spec.IngressClassName = new("foreign") })
	s.eventually("moving.classes.test", "/", notFound)
	// An Ingress of another controller takes nothing from ours.
	s.create(of("ours-2", class))
	thief := of("thief", "foreign")
	thief.Spec.Rules = []networkingv1.IngressRule{rule("ours-2.classes.test", "/", "guard", "/more", "guard")}
	s.create(thief)
	s.eventually("ours-2.classes.test", "/", "shop")
	s.now("ours-2.classes.test", "/more", "shop")
	neverOurs()
}

// The default class takes the Ingresses that name none, as long as it is the
// default and ours.
func testDefaultClass(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("shop")
	unclassed := withRules("unclassed", rule("unclassed.classes.test", "/", "shop"))
	unclassed.Spec.IngressClassName = nil
	annotated := withRules("annotated", rule("stranger.classes.test", "/", "shop"))
	annotated.Spec.IngressClassName = nil
	annotated.Annotations = map[string]string{classAnnotation: "nginx"}
	s.create(unclassed, annotated, withRules("ours", rule("ours.classes.test", "/", "shop")))
	s.eventually("ours.classes.test", "/", "shop")
	s.now("unclassed.classes.test", "/", notFound)

	isDefault := func(c *networkingv1.IngressClass, value string) *networkingv1.IngressClass {
		c.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: value}
		return c
	}
	chosen := isDefault(classOf("b-ours", ours), "true")
	s.create(chosen)
	s.eventually("unclassed.classes.test", "/", "shop")
	s.now("stranger.classes.test", "/", notFound)

	change(s, chosen, func(o *networkingv1.IngressClass) { isDefault(o, "false") })
	s.eventually("unclassed.classes.test", "/", notFound)
	change(s, chosen, func(o *networkingv1.IngressClass) { isDefault(o, "true") })
	s.eventually("unclassed.classes.test", "/", "shop")

	// Of two default classes the newest counts (of equal age, the first by
	// name), as in the API server.
	newer := isDefault(classOf("a-theirs", theirs), "true")
	s.create(newer)
	s.eventually("unclassed.classes.test", "/", notFound)
	s.delete(newer)
	s.eventually("unclassed.classes.test", "/", "shop")

	// The API server writes the default class into new Ingresses: they keep it.
	born := withRules("born", rule("born.classes.test", "/", "shop"))
	born.Spec.IngressClassName = nil
	s.create(born)
	s.eventually("born.classes.test", "/", "shop")
	change(s, chosen, func(o *networkingv1.IngressClass) { isDefault(o, "false") })
	s.eventually("unclassed.classes.test", "/", notFound)
	s.now("born.classes.test", "/", "shop")
	s.delete(chosen)
	s.eventually("born.classes.test", "/", notFound)
	s.now("ours.classes.test", "/", "shop")
}
