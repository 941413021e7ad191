package ingress

import (
	"context"
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/apireader"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// wall is a Publisher of many hosts.
type wall map[route.Key]*route.Host

func (w wall) PublishHost(key route.Key, host *route.Host) { w[key] = host }
func (w wall) Host(key route.Key) server.HostState {
	return server.HostState{Published: w[key] != nil, Value: w[key]}
}

// manyPaths is an Ingress whose host has a path "/" to a Service and n others to
// Services of their own.
func manyPaths(name, service string, n int) *networkingv1.Ingress {
	ingress := annotated(leading(name, nil, name+".test", service), route.WellKnownClass)
	http := ingress.Spec.Rules[0].HTTP
	for i := range n {
		http.Paths = append(http.Paths, networkingv1.HTTPIngressPath{
			Path: fmt.Sprintf("/p-%d", i), PathType: new(networkingv1.PathTypePrefix), Backend: backendOf(fmt.Sprintf("missing-%d", i)),
		})
	}
	return ingress
}

// late is a cache that has not heard of some Services.
type late struct {
	client.Client

	unheard map[string]bool
}

func (l *late) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if l.unheard[name.Name] {
		return apierrors.NewNotFound(corev1.Resource("services"), name.Name)
	}
	return l.Client.Get(ctx, name, into, opts...)
}

// still is a clock.
func still() time.Time { return time.Unix(1_800_000_000, 0) }

// However many Services a host misses, a run asks the API server only a handful of
// questions, and none of them twice.
func TestWhatARunAsks(t *testing.T) {
	const many = 2000
	good, ingress := offering(serviceNamed("shop", "cart"), 80), manyPaths("cart", "cart", 0)
	key := route.Key{Gateway: route.DefaultGateway, Host: "cart.test"}
	cluster := indexed.Cluster(t, ingress, good)
	cached, there, put := &late{Client: cluster, unheard: map[string]bool{}}, &apiServer{Reader: cluster}, wall{}
	r := &Reconciler{Objects: index.Objects{Cluster: cached}, Live: apireader.New(there, still), Publisher: put, Reporter: report.New()}
	run := func(what string, asked ...string) {
		t.Helper()
		there.asked = nil
		result, err := r.Reconcile(t.Context(), key)
		if err != nil || !result.IsZero() {
			t.Fatalf("%s: %v, %v", what, result, err)
		}
		if diff := gocmp.Diff(asked, there.asked); diff != "" {
			t.Errorf("%s: asked (-want +got):\n%s", what, diff)
		}
	}
	change := func(paths func(*networkingv1.HTTPIngressRuleValue)) {
		t.Helper()
		paths(ingress.Spec.Rules[0].HTTP)
		if err := cluster.Update(t.Context(), ingress); err != nil {
			t.Fatal(err)
		}
	}
	run("a host that works")
	if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(ingress), ingress); err != nil {
		t.Fatal(err)
	}
	change(func(http *networkingv1.HTTPIngressRuleValue) {
		*http = *manyPaths("cart", "cart", many).Spec.Rules[0].HTTP
	})
	run("thousands of paths, each of which takes some of what worked", "ingress cart", "*v1.ServiceList")
	if routes := len(put[key].Routes); routes != many+1 {
		t.Fatalf("%d routes are published", routes)
	}
	for range 3 {
		r.Live.Forget("shop") // some event
		run("the same again")
	}
	change(func(http *networkingv1.HTTPIngressRuleValue) { http.Paths[7].Backend = backendOf("another-missing") })
	run("a path that does not work is led elsewhere")
	cached.unheard["cart"] = true
	run("the cache loses the one that works", "ingress cart", "service cart")
	if put[key].Routes[many].Cluster == nil {
		t.Error("the Service that the API server has is not used")
	}
	run("and has not got it back")
	if err := cluster.Delete(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	r.Live.Forget("shop") // the event of that
	run("it is gone", "ingress cart", "service cart")
	run("and stays so")

	// A new host breaks nothing, unless a wildcard served its requests before.
	r.Live.Forget("shop")
	delete(put, key)
	run("a new host")
	delete(put, key)
	put[route.Key{Gateway: route.DefaultGateway, Host: "*.test"}] = hostOf("/ ok")
	run("a new host below a wildcard", "ingress cart", "*v1.ServiceList")
}

// An Ingress whose many hosts lose their Service is asked for once.
func TestHostsShareAnswers(t *testing.T) {
	var pairs []string
	for i := range 100 {
		pairs = append(pairs, fmt.Sprintf("h-%d.test", i), "gone")
	}
	ingress := annotated(leading("all", nil, pairs...), route.WellKnownClass)
	there := &apiServer{Reader: indexed.Cluster(t, ingress.DeepCopy())}
	put := wall{}
	r := &Reconciler{Objects: index.Objects{Cluster: indexed.Cluster(t, ingress.DeepCopy())}, Live: apireader.New(there, still), Publisher: put, Reporter: report.New()}
	for i := range 100 {
		key := route.Key{Gateway: route.DefaultGateway, Host: route.Hostname(fmt.Sprintf("h-%d.test", i))}
		put[key] = hostOf("/ ok")
		if result, err := r.Reconcile(t.Context(), key); err != nil || !result.IsZero() {
			t.Fatalf("%v, %v", result, err)
		}
		if !misses(&put[key].Routes[0]) {
			t.Fatal("the host does not say that its Service is gone")
		}
	}
	if diff := gocmp.Diff([]string{"ingress all", "service gone"}, there.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}
