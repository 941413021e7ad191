package ingress

import (
	"context"
	"errors"
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/apireader"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// shelf is a Publisher of one host.
type shelf struct {
	host      *route.Host
	published int // number of times
}

func (s *shelf) PublishHost(_ route.Key, host *route.Host) {
	s.host = host
	s.published++
}

func (s *shelf) Host(route.Key) server.HostState {
	return server.HostState{Published: s.host != nil, Value: s.host}
}

// apiServer counts what it is asked.
type apiServer struct {
	client.Reader

	asked []string
	err   error
}

func (a *apiServer) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	kind := "service"
	if _, ok := into.(*networkingv1.Ingress); ok {
		kind = "ingress"
	}
	a.asked = append(a.asked, kind+" "+name.Name)
	if a.err != nil {
		return a.err
	}
	return a.Reader.Get(ctx, name, into, opts...)
}

func (a *apiServer) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	a.asked = append(a.asked, fmt.Sprintf("%T", into))
	return a.Reader.List(ctx, into, opts...)
}

func offering(service *corev1.Service, ports ...int32) *corev1.Service {
	for _, port := range ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Port: port})
	}
	return service
}

// Informers are not in step: what the cache does not know may be there.
func TestTheAPIServerIsAskedBeforeARouteBreaks(t *testing.T) {
	away := errors.New("away")
	ingress := annotated(leading("cart", nil, "cart.test", "cart"), route.WellKnownClass)
	moved := annotated(leading("cart", nil, "cart.test", "pay"), route.WellKnownClass)
	both := annotated(leading("cart", nil, "cart.test", "cart", "cart.test", "pay"), route.WellKnownClass)
	good := offering(serviceNamed("shop", "cart"), 80)
	bare := offering(serviceNamed("shop", "cart"), 81)
	pay := offering(serviceNamed("shop", "pay"), 80)
	before := &route.Host{Key: route.Key{Gateway: route.DefaultGateway, Host: "cart.test"}, Routes: []route.Route{
		{Match: route.Match{Path: "/"}, Cluster: &route.Cluster{}},
	}}
	dead := &route.Host{Key: before.Key, Routes: []route.Route{
		{Match: route.Match{Path: "/"}, Status: 503, Reason: string(route.ReasonBackendNotFound)},
	}}
	tests := []struct {
		name      string
		cached    []client.Object
		there     []client.Object
		published bool
		dead      bool // the published route answers 503
		err       error
		asked     []string
		want      string // "route", "503", "before" or "none"
	}{
		{name: "the cache knows the Service: nobody is asked", cached: []client.Object{ingress, good}, published: true, want: "route"},
		{name: "a Service that is not there is asked for, and then the route breaks", cached: []client.Object{ingress}, there: []client.Object{ingress}, published: true, asked: []string{"ingress cart", "service cart"}, want: "503"},
		{name: "a Service that the cache does not know yet is used", cached: []client.Object{ingress}, there: []client.Object{ingress, good}, published: true, asked: []string{"ingress cart", "service cart"}, want: "route"},
		{name: "a port that the cache does not know yet is used", cached: []client.Object{ingress, bare}, there: []client.Object{ingress, good}, published: true, asked: []string{"ingress cart", "service cart"}, want: "route"},
		{name: "an Ingress that left the Service that is gone is followed", cached: []client.Object{ingress, pay}, there: []client.Object{moved, pay}, published: true, asked: []string{"ingress cart", "service pay"}, want: "route"},
		{name: "both the Ingress and its new Service may be news", cached: []client.Object{ingress}, there: []client.Object{moved, pay}, published: true, asked: []string{"ingress cart", "service pay"}, want: "route"},
		{name: "an Ingress that is gone with its Service leaves no 503", cached: []client.Object{ingress}, published: true, asked: []string{"ingress cart"}, want: "none"},
		{name: "an Ingress that has become another class's leaves no 503", cached: []client.Object{ingress}, there: []client.Object{annotated(leading("cart", nil, "cart.test", "cart"), "other")}, published: true, asked: []string{"ingress cart"}, want: "none"},
		{name: "nothing can break that is not served: nobody is asked", cached: []client.Object{ingress}, there: []client.Object{ingress, good}, want: "503"},
		{name: "a route that answers 503 already works no worse: nobody is asked", cached: []client.Object{ingress}, there: []client.Object{ingress, good}, published: true, dead: true, want: "503"},
		{name: "while the API server does not answer, what is served stays", cached: []client.Object{ingress}, published: true, err: away, asked: []string{"ingress cart"}, want: "before"},
		{name: "a host that goes away asks nobody", published: true, want: "none"},
		{name: "only what is missing is asked for", cached: []client.Object{both, pay}, there: []client.Object{both, pay}, published: true, asked: []string{"ingress cart", "service cart"}, want: "503"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			there := &apiServer{Reader: indexed.Cluster(t, copies(test.there)...), err: test.err}
			put := &shelf{}
			if test.published {
				put.host = before
			}
			if test.dead {
				put.host = dead
			}
			r := &Reconciler{
				Objects:   index.Objects{Cluster: indexed.Cluster(t, copies(test.cached)...)},
				Live:      apireader.New(there, nil),
				Publisher: put,
				Reporter:  report.New(),
			}
			if _, err := r.Reconcile(t.Context(), before.Key); !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if diff := gocmp.Diff(test.asked, there.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if got := summary(put.host, before); got != test.want {
				t.Errorf("serves %s, want %s", got, test.want)
			}
		})
	}
}

func summary(host, before *route.Host) string {
	switch {
	case host == nil:
		return "none"
	case host == before:
		return "before"
	case host.Routes[0].Cluster != nil:
		return "route"
	default:
		return "503"
	}
}

// Where there is no API server, as with a folder, the cache is all there is.
func TestWithoutAnAPIServerTheCacheIsTheTruth(t *testing.T) {
	put := &shelf{host: &route.Host{}}
	r := &Reconciler{
		Objects:   index.Objects{Cluster: indexed.Cluster(t, annotated(leading("cart", nil, "cart.test", "cart"), route.WellKnownClass))},
		Publisher: put,
		Reporter:  report.New(),
	}
	if _, err := r.Reconcile(t.Context(), route.Key{Gateway: route.DefaultGateway, Host: "cart.test"}); err != nil {
		t.Fatal(err)
	}
	if got := summary(put.host, nil); got != "503" {
		t.Errorf("serves %s, want 503", got)
	}
}

// copies are objects that a fake may write into.
func copies(objects []client.Object) []client.Object {
	var all []client.Object
	for _, object := range objects {
		all = append(all, object.DeepCopyObject().(client.Object))
	}
	return all
}

// A run that changes nothing does not have the host rendered again.
func TestEqualHostsArePublishedOnce(t *testing.T) {
	out := &shelf{}
	r := &Reconciler{Publisher: out}
	key := route.Key{Gateway: route.DefaultGateway, Host: "cart.test"}
	host := func(path string) *route.Host {
		return &route.Host{Key: key, Routes: []route.Route{{Match: route.Match{Path: path}, Cluster: &route.Cluster{}}}}
	}
	for i, step := range []struct {
		host *route.Host
		want int
	}{{host("/"), 1}, {host("/"), 1}, {host("/cart"), 2}, {nil, 3}, {host("/cart"), 4}} {
		r.Publish(key, step.host)
		if out.published != step.want {
			t.Errorf("step %d: published %d times, want %d", i, out.published, step.want)
		}
	}
}
