package index_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/xds/route"
)

// classes are four of ours, one of which leads to no gateway, one of another
// controller, and what configures gateways.
const classes = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: public}
spec: {controller: fairway.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: inside}
spec:
  controller: fairway.dev/ingress-controller
  parameters: {apiGroup: fairway.dev, kind: ClusterGatewayConfig, name: inside}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: team}
spec:
  controller: fairway.dev/ingress-controller
  parameters: {apiGroup: fairway.dev, kind: GatewayConfig, scope: Namespace, namespace: shop, name: own}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: broken}
spec:
  controller: fairway.dev/ingress-controller
  parameters: {kind: ConfigMap, name: inside}
---
apiVersion: fairway.dev/v1alpha1
kind: ClusterGatewayConfig
metadata: {name: inside}
spec: {issuer: letsencrypt}
---
apiVersion: fairway.dev/v1alpha1
kind: GatewayConfig
metadata: {namespace: shop, name: own}
---
apiVersion: fairway.dev/v1alpha1
kind: Issuer
metadata: {name: letsencrypt}`

func TestWhichClassesAndGatewaysAreOurs(t *testing.T) {
	for _, test := range []struct {
		name  string
		scope index.Scope
		want  string // class: gateway
		named string // gateways; first that of a class whose parameters name none
	}{
		{name: "all of our controller", want: "inside: inside, public: default, team: shop/own", named: " default inside shop/own"},
		{
			name: "those that may be, if they are told", scope: index.Scope{Classes: []string{"inside", "nginx", "absent"}},
			want: "inside: inside", named: " default inside shop/own",
		},
		{
			name: "all on one gateway", scope: index.Scope{OneGateway: true},
			want: "broken: default, inside: default, public: default, team: default", named: " default inside shop/own",
		},
		{
			name: "a class of files takes only what names it", scope: index.Scope{ClaimWithoutClasses: true},
			want: "inside: inside, public: default, team: shop/own", named: " default inside shop/own",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := objectsOf(t, classes)
			o.Scope = test.scope
			found, err := o.Classes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all, err := o.AllClasses(t.Context())
			if err != nil || len(all) != 5 {
				t.Fatalf("all classes: %v, %v", all, err)
			}
			var ours []string
			for _, class := range all {
				ing := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &class.Name}}
				if gateway, its := found.Gateway(ing); its {
					ours = append(ours, fmt.Sprintf("%s: %s", class.Name, gateway))
				}
			}
			slices.Sort(ours)
			if got := strings.Join(ours, ", "); got != test.want {
				t.Errorf("ours are %s, want %s", got, test.want)
			}
			named, err := o.NamedGateways(t.Context())
			slices.Sort(named)
			if got := strings.Trim(fmt.Sprint(named), "[]"); err != nil || got != test.named {
				t.Errorf("named are %s, %v, want %s", got, err, test.named)
			}
		})
	}
}

func TestFilesWithoutAClassClaimAll(t *testing.T) {
	o := objectsOf(t, ingresses)
	o.ClaimWithoutClasses = true
	found, err := o.Classes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if gateway, ours := found.Gateway(&networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: new("nginx")}}); !ours || gateway != route.DefaultGateway {
		t.Errorf("an Ingress of any class: %s, %t", gateway, ours)
	}
}

func TestClassesOfAGateway(t *testing.T) {
	o := objectsOf(t, classes)
	o.Scope.Classes = []string{"public", "team", "nginx", "broken"}
	for gateway, want := range map[route.Gateway]string{"default": "/public", "shop/own": "/team", "inside": "", "absent": "", "": "/broken"} {
		if got := names(o.ClassesOfGateway(t.Context(), gateway)); got != want {
			t.Errorf("%q: %s, want %s", gateway, got, want)
		}
	}
}

func TestConfigsOfBothKindsAreFoundByTheirGateway(t *testing.T) {
	o := objectsOf(t, classes)
	configs, err := o.Configs(t.Context())
	if err != nil || len(configs) != 2 {
		t.Fatalf("configs %v, %v", configs, err)
	}
	if c := configs["inside"]; c.Object == nil || c.GetName() != "inside" || c.Spec.Issuer == nil || *c.Spec.Issuer != "letsencrypt" {
		t.Errorf("of the cluster: %+v", c)
	}
	if c := configs["shop/own"]; c.Object == nil || c.GetNamespace() != "shop" || c.Spec.Issuer != nil {
		t.Errorf("of a namespace: %+v", c)
	}
}

func TestWhichIssuerAnIngressAsks(t *testing.T) {
	asks, err := objectsOf(t, classes).Asks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, class string
		annotations map[string]string
		want        index.IssuerRequest
	}{
		{name: "its gateway's", class: "inside", want: index.IssuerRequest{Gateway: "inside", Issuer: "letsencrypt"}},
		{name: "its own first", class: "inside", annotations: map[string]string{"fairway.dev/issuer": "own"}, want: index.IssuerRequest{Gateway: "inside", Issuer: "own", Own: true}},
		{name: "none, as it says", class: "inside", annotations: map[string]string{"fairway.dev/issuer": "none"}, want: index.IssuerRequest{Gateway: "inside"}},
		{name: "none, where its own cannot be one", class: "inside", annotations: map[string]string{"fairway.dev/issuer": "Not A Name"}, want: index.IssuerRequest{Gateway: "inside"}},
		{name: "none, where it names nothing", class: "inside", annotations: map[string]string{"fairway.dev/issuer": ""}, want: index.IssuerRequest{Gateway: "inside"}},
		{name: "cert-manager makes its certificates", class: "inside", annotations: map[string]string{"cert-manager.io/issuer": "x", "fairway.dev/issuer": "own"}, want: index.IssuerRequest{Gateway: "inside"}},
		{name: "none, at a gateway that has none", class: "team", want: index.IssuerRequest{Gateway: "shop/own"}},
		{name: "its own, at a gateway that has none", class: "public", annotations: map[string]string{"fairway.dev/issuer": "own"}, want: index.IssuerRequest{Gateway: "default", Issuer: "own", Own: true}},
		{name: "it is not ours", class: "nginx", annotations: map[string]string{"fairway.dev/issuer": "own"}},
	} {
		ing := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &test.class}}
		ing.Annotations = test.annotations
		if diff := cmp.Diff(test.want, asks.Of(ing)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestIssuers(t *testing.T) {
	o := objectsOf(t, classes)
	if found, err := o.Issuer(t.Context(), "letsencrypt"); err != nil || found == nil || found.Name != "letsencrypt" {
		t.Errorf("found %v, %v", found, err)
	}
	if found, err := o.Issuer(t.Context(), "absent"); err != nil || found != nil {
		t.Errorf("one that is not there: %v, %v", found, err)
	}
	if got := names(o.Issuers(t.Context())); got != "/letsencrypt" {
		t.Errorf("all are %s", got)
	}
}

// lacking is a cache that was told not to watch what it is asked for.
type lacking struct{ client.Client }

func (lacking) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	return fmt.Errorf("get: %w", &cache.ErrResourceNotCached{GVK: object.GetObjectKind().GroupVersionKind()})
}

func (lacking) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return fmt.Errorf("list: %w", &cache.ErrResourceNotCached{})
}

func TestWithoutOurKindsThereAreNoneOfThem(t *testing.T) {
	o := index.Objects{Cluster: lacking{}}
	issuer, err1 := o.Issuer(t.Context(), "letsencrypt")
	issuers, err2 := o.Issuers(t.Context())
	configs, err3 := o.Configs(t.Context())
	if issuer != nil || len(issuers)+len(configs) > 0 || err1 != nil || err2 != nil || err3 != nil {
		t.Errorf("%v %v; %v %v; %v %v", issuer, err1, issuers, err2, configs, err3)
	}
}

// informers is a cache that tells of Namespaces what a test has it tell.
type informers struct {
	cache.Cache
	cache.Informer

	cluster client.Reader
	handler toolscache.ResourceEventHandler
	synced  chan struct{}
}

func (i *informers) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return i, nil
}

func (i *informers) WaitForCacheSync(context.Context) bool { return true }

func (i *informers) AddEventHandlerWithOptions(
	handler toolscache.ResourceEventHandler, _ toolscache.HandlerOptions,
) (toolscache.ResourceEventHandlerRegistration, error) {
	i.handler = handler
	close(i.synced)
	return registration{}, nil
}

type registration struct {
	toolscache.ResourceEventHandlerRegistration
}

func (registration) HasSynced() bool { return true }

func (i *informers) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	return i.cluster.List(ctx, into, options...)
}

// queue is a queue that remembers what was added.
type queue struct {
	workqueue.TypedRateLimitingInterface[string]

	added []string
}

func (q *queue) Add(key string) { q.added = append(q.added, key) }

func ingressName(_ context.Context, ing *networkingv1.Ingress) ([]string, error) {
	return []string{ing.Namespace + "/" + ing.Name}, nil
}

// The Namespace decides about all of its Ingresses at once, whether they were
// selected before or not.
func TestANamespaceWakesItsIngressesWhenItsSelectionChanges(t *testing.T) {
	o := objectsOf(t, ingresses)
	objects := &informers{cluster: o.Cluster, synced: make(chan struct{})}
	if sources := index.SourceOfNamespaces(objects, index.Scope{}, ingressName, nil); len(sources) != 0 {
		t.Fatalf("%d sources without a selector", len(sources))
	}
	scope := index.Scope{Namespaces: labels.SelectorFromSet(labels.Set{"team": "blog"})}
	var seen []string
	observer := watch.Observer[*metav1.PartialObjectMetadata, string](
		func(_ context.Context, namespace *metav1.PartialObjectMetadata, gone bool, _ []string) {
			seen = append(seen, fmt.Sprintf("%s gone=%t", namespace.Name, gone))
		})
	woken := &queue{}
	for _, source := range index.SourceOfNamespaces(objects, scope, ingressName, observer) {
		if err := source.Start(t.Context(), woken); err != nil {
			t.Fatal(err)
		}
	}
	<-objects.synced
	namespace := func(name, team, other string) *metav1.PartialObjectMetadata {
		n := index.Namespace()
		n.Name, n.Labels = name, map[string]string{"team": team, "other": other}
		return n
	}
	for _, test := range []struct {
		name string
		tell func()
		want []string
	}{
		{"a Namespace comes", func() { objects.handler.OnAdd(namespace("blog", "blog", ""), false) }, []string{"blog/exact"}},
		{"it was there", func() { objects.handler.OnAdd(namespace("blog", "blog", ""), true) }, nil},
		{"it gets another label", func() { objects.handler.OnUpdate(namespace("blog", "blog", "a"), namespace("blog", "blog", "b")) }, nil},
		{"it is not selected before and after", func() { objects.handler.OnUpdate(namespace("blog", "a", ""), namespace("blog", "b", "")) }, nil},
		{"it is selected no more", func() { objects.handler.OnUpdate(namespace("blog", "blog", ""), namespace("blog", "shop", "")) }, []string{"blog/exact"}},
		{"it is gone", func() { objects.handler.OnDelete(namespace("blog", "shop", "")) }, []string{"blog/exact"}},
		{"one without Ingresses comes", func() { objects.handler.OnAdd(namespace("none", "blog", ""), false) }, nil},
	} {
		woken.added, seen = nil, nil
		test.tell()
		slices.Sort(woken.added)
		if diff := cmp.Diff(test.want, slices.Compact(woken.added)); diff != "" {
			t.Errorf("%s: woken (-want +got):\n%s", test.name, diff)
		}
		if len(seen) != 1 {
			t.Errorf("%s: the observer saw %v", test.name, seen)
		}
	}
}
