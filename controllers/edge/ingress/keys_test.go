package ingress

import (
	"cmp"
	"context"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/xds/route"
)

// leading is an Ingress whose rules lead each host to the Service after it.
func leading(name string, class *string, hostsAndServices ...string) *networkingv1.Ingress {
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       networkingv1.IngressSpec{IngressClassName: class},
	}
	for pair := range slices.Chunk(hostsAndServices, 2) {
		rule := networkingv1.IngressRule{Host: pair[0]}
		rule.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
			Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: backendOf(pair[1]),
		}}}
		ingress.Spec.Rules = append(ingress.Spec.Rules, rule)
	}
	return ingress
}

func backendOf(service string) networkingv1.IngressBackend {
	return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: service, Port: networkingv1.ServiceBackendPort{Number: 80},
	}}
}

func withDefault(ingress *networkingv1.Ingress, service string) *networkingv1.Ingress {
	ingress.Spec.DefaultBackend = new(backendOf(service))
	return ingress
}

func annotated(ingress *networkingv1.Ingress, class string) *networkingv1.Ingress {
	ingress.Annotations = map[string]string{"kubernetes.io/ingress.class": class}
	return ingress
}

func serviceNamed(namespace, name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func classNamed(name string) *networkingv1.IngressClass {
	return &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func defaultClass(name string) *networkingv1.IngressClass {
	class := classNamed(name)
	class.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
	return class
}

func TestWhichHostsAnObjectConcerns(t *testing.T) {
	ours := new("ours")
	cluster := []client.Object{
		leading("cart", ours, "cart.test", "cart", "pay.test", "pay"),
		leading("both", nil, "cart.test", "other", "*.wild.test", "pay"),
		withDefault(leading("default", new("theirs"), "blog.test", "blog"), "late"),
		annotated(leading("old", nil, "old.test", "old"), "ours"),
		leading("hostless", ours, "", "any"),
	}
	tests := []struct {
		name   string
		object client.Object
		claim  bool // ClaimWithoutClasses
		want   []route.Hostname
	}{
		{name: "an Ingress: its hosts", object: leading("new", nil, "a.test", "x", "b.test", "y"), want: []route.Hostname{"a.test", "b.test"}},
		{name: "an Ingress that was ours, whatever its class", object: leading("new", new("theirs"), "a.test", "x"), want: []route.Hostname{"a.test"}},
		{name: "an Ingress with a default backend: the default host too", object: withDefault(leading("new", nil, "a.test", "x"), "y"), want: []route.Hostname{"*", "a.test"}},
		{name: "an Ingress without anything: the default host, where it is told", object: leading("new", nil), want: []route.Hostname{"*"}},
		{name: "an Ingress that names a host twice: once", object: leading("new", nil, "a.test", "x", "a.test", "y"), want: []route.Hostname{"a.test"}},

		{name: "a Service: the hosts that lead to it, and no others of their Ingress", object: serviceNamed("shop", "cart"), want: []route.Hostname{"cart.test"}},
		{name: "a Service that two Ingresses name", object: serviceNamed("shop", "pay"), want: []route.Hostname{"*.wild.test", "pay.test"}},
		{name: "a Service that is a default backend: all hosts of its Ingress", object: serviceNamed("shop", "late"), want: []route.Hostname{"*", "blog.test"}},
		{name: "a Service of a rule without host", object: serviceNamed("shop", "any"), want: []route.Hostname{"*"}},
		{name: "a Service that nobody names: none", object: serviceNamed("shop", "nobody")},
		{name: "a Service of that name in another namespace: none", object: serviceNamed("blog", "cart")},

		{name: "an IngressClass: the hosts of the Ingresses that name it", object: classNamed("ours"), want: []route.Hostname{"*", "cart.test", "old.test", "pay.test"}},
		{name: "an IngressClass that nobody names: none", object: classNamed("unknown")},
		{name: "a default IngressClass: also those that name none", object: defaultClass("unknown"), want: []route.Hostname{"*.wild.test", "cart.test"}},
		{
			name: "any IngressClass, where their absence claims everything: all", object: classNamed("unknown"), claim: true,
			want: []route.Hostname{"*", "*.wild.test", "blog.test", "cart.test", "old.test", "pay.test"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &Reconciler{
				Objects: index.Objects{Cluster: indexed.Cluster(t, cluster...), Scope: index.Scope{ClaimWithoutClasses: test.claim}},
			}
			for _, host := range []route.Hostname{
				"*", "*.wild.test", "a.test", "b.test", "blog.test", "cart.test", "old.test", "pay.test",
			} {
				r.known.Note(route.Key{Gateway: route.DefaultGateway, Host: host}, true)
			}
			if diff := gocmp.Diff(test.want, hostsOf(t, r, test.object)); diff != "" {
				t.Errorf("hosts (-want +got):\n%s", diff)
			}
		})
	}
}

// hostsOf is the hosts whose keys an event of the object wakes, sorted.
func hostsOf(t *testing.T, r *Reconciler, object client.Object) []route.Hostname {
	t.Helper()
	keys, err := keysOfObject(t.Context(), r, object)
	if err != nil {
		t.Fatal(err)
	}
	var hosts []route.Hostname
	for _, key := range keys {
		hosts = append(hosts, key.Host)
	}
	slices.Sort(hosts)
	return hosts
}

func keysOfObject(ctx context.Context, r *Reconciler, object client.Object) ([]route.Key, error) {
	switch o := object.(type) {
	case *networkingv1.Ingress:
		return r.ingressKeys(ctx, o)
	case *networkingv1.IngressClass:
		return r.classKeys(ctx, o)
	default:
		return r.serviceKeys(ctx, o.(*corev1.Service))
	}
}

func TestAHostConcernsItsGatewayAndThoseThatKnowIt(t *testing.T) {
	inner := classNamed("inner")
	inner.Spec.Controller = route.ControllerName
	inner.Spec.Parameters = &networkingv1.IngressClassParametersReference{
		APIGroup: new("fairway.dev"), Kind: route.KindClusterGatewayConfig, Name: "inner",
	}
	r := &Reconciler{Objects: index.Objects{Cluster: indexed.Cluster(t, inner)}}
	r.known.Note(route.Key{Gateway: "outer", Host: "a.test"}, true)
	r.known.Note(route.Key{Gateway: "gone", Host: "a.test"}, true)
	r.known.Note(route.Key{Gateway: "gone", Host: "a.test"}, false)
	r.known.Note(route.Key{Gateway: "gone", Host: "b.test"}, true)
	keys, err := r.ingressKeys(t.Context(), leading("new", new("inner"), "a.test", "x"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(keys, func(a, b route.Key) int { return cmp.Compare(a.Gateway, b.Gateway) })
	want := []route.Key{{Gateway: "inner", Host: "a.test"}, {Gateway: "outer", Host: "a.test"}}
	if diff := gocmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
