package hostkeys_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/objects/hostkeys"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/census"
	"github.com/fairwaynet/fairway/xds/route"
)

// classed is an Ingress of a class with those hosts.
func classed(class string, hosts ...string) *networkingv1.Ingress {
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: class + "-" + strings.Join(hosts, "-")}}
	ing.Spec.IngressClassName = &class
	for _, host := range hosts {
		ing.Spec.Rules = append(ing.Spec.Rules, networkingv1.IngressRule{Host: host})
	}
	return ing
}

// classOf leads to a gateway of its own, named after it, unless another controller's
// name is given.
func classOf(name string, others ...string) *networkingv1.IngressClass {
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{
		Controller: route.ControllerName,
		Parameters: &networkingv1.IngressClassParametersReference{APIGroup: new("fairway.dev"), Kind: "ClusterGatewayConfig", Name: name},
	}}
	for _, other := range others {
		class.Spec.Controller = other
	}
	return class
}

func objectsOf(classes ...client.Object) index.Objects {
	return index.Objects{Cluster: fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(classes...).Build()}
}

// keysOf are the keys of Ingresses, "gateway host".
func keysOf(t *testing.T, set *hostkeys.Set, objects index.Objects, ingresses ...*networkingv1.Ingress) []string {
	t.Helper()
	keys, err := set.Keys(t.Context(), objects, ingresses, route.HostsOf)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, key := range keys {
		all = append(all, fmt.Sprintf("%s %s", key.Gateway, key.Host))
	}
	return all
}

func TestWhichKeysIngressesConcern(t *testing.T) {
	for _, test := range []struct {
		name    string
		known   []string // "gateway host"
		classes []client.Object
		of      []*networkingv1.Ingress
		want    []string
	}{
		{name: "of no Ingress: none", known: []string{"inside shop.test"}},
		{
			name:    "each host on the gateway of the class",
			classes: []client.Object{classOf("inside")}, of: []*networkingv1.Ingress{classed("inside", "shop.test", "*.shop.test", "")},
			want: []string{"inside *", "inside *.shop.test", "inside shop.test"},
		},
		{
			name:    "each once, whoever names it",
			known:   []string{"inside shop.test"},
			classes: []client.Object{classOf("inside")},
			of:      []*networkingv1.Ingress{classed("inside", "shop.test"), classed("inside", "shop.test", "blog.test")},
			want:    []string{"inside shop.test", "inside blog.test"},
		},
		{
			name: "a class that is not ours: none", classes: []client.Object{classOf("nginx", "k8s.io/ingress-nginx")},
			of: []*networkingv1.Ingress{classed("nginx", "shop.test")},
		},
		{
			name: "a class that is gone: where the host is known", known: []string{"inside shop.test", "inside blog.test"},
			of: []*networkingv1.Ingress{classed("inside", "shop.test")}, want: []string{"inside shop.test"},
		},
		{
			name: "a class that is another controller's now: where the host is known", known: []string{"inside shop.test"},
			classes: []client.Object{classOf("inside", "k8s.io/ingress-nginx")},
			of:      []*networkingv1.Ingress{classed("inside", "shop.test")}, want: []string{"inside shop.test"},
		},
		{
			name: "a class that has moved to another gateway: there, and where the host is known", known: []string{"default shop.test", "outside shop.test"},
			classes: []client.Object{classOf("inside")},
			of:      []*networkingv1.Ingress{classed("inside", "shop.test")}, want: []string{"inside shop.test", "default shop.test", "outside shop.test"},
		},
		{
			name: "a host is one name: neither its wildcard nor the default host is meant", known: []string{"inside *.shop.test", "inside *", "inside shop.test."},
			of: []*networkingv1.Ingress{classed("inside", "shop.test", "a.shop.test")},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := &hostkeys.Set{}
			for _, known := range test.known {
				set.Note(keyOf(known), true)
			}
			if diff := cmp.Diff(test.want, keysOf(t, set, objectsOf(test.classes...), test.of...)); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

func keyOf(text string) route.Key {
	gateway, host, _ := strings.Cut(text, " ")
	return route.Key{Gateway: route.Gateway(gateway), Host: route.Hostname(host)}
}

// unlisted is a cache that cannot be read.
type unlisted struct{ client.Reader }

func (unlisted) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("the cache is not there")
}

func TestWithoutClassesNobodyCanTellTheKeys(t *testing.T) {
	set := &hostkeys.Set{}
	set.Note(keyOf("inside shop.test"), true)
	objects := index.Objects{Cluster: unlisted{}}
	if keys, err := set.Keys(t.Context(), objects, []*networkingv1.Ingress{classed("inside", "shop.test")}, route.HostsOf); err == nil || keys != nil {
		t.Errorf("keys %v, error %v", keys, err)
	}
	if keys, err := set.Keys(t.Context(), objects, nil, route.HostsOf); err != nil || keys != nil {
		t.Errorf("of no Ingress: keys %v, error %v", keys, err)
	}
}

// Whatever is noted in whatever order, the last word on a key counts; and of what is
// known no more nothing stays.
func TestTheLastNoteOfAKeyCounts(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	set, known := &hostkeys.Set{}, map[string]bool{}
	size := func() map[string]int {
		return census.Of([]string{"github.com/fairwaynet/fairway/controllers/objects/hostkeys"}, set)
	}
	before := size()
	objects := objectsOf()
	for step := range 2000 {
		key := fmt.Sprintf("g%d h%d.test", random.IntN(3), random.IntN(5))
		known[key] = random.IntN(2) == 0
		set.Note(keyOf(key), known[key])
		if step%50 != 0 {
			continue
		}
		got := map[string]bool{}
		for _, key := range keysOf(t, set, objects, classed("gone", "h0.test", "h1.test", "h2.test", "h3.test", "h4.test")) {
			got[key] = true
		}
		for key, want := range known {
			if got[key] != want {
				t.Fatalf("seed %d step %d: %s is known: %t, want %t", seed, step, key, got[key], want)
			}
		}
	}
	for key := range known {
		set.Note(keyOf(key), false)
		set.Note(keyOf(key), false)
	}
	if diff := cmp.Diff(before, size()); diff != "" {
		t.Errorf("seed %d: what stays (-before +after):\n%s", seed, diff)
	}
}
