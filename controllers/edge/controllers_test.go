package edge

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/test/laggingcache"
	"github.com/fairwaynet/fairway/xds/route"
)

const patience = 30 * time.Second

// ingressOf is an Ingress of ours that leads a host to a Service.
func ingressOf(host, service string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: host,
			Annotations: map[string]string{"kubernetes.io/ingress.class": route.WellKnownClass},
		},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: host,
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{
					Path: "/", PathType: new(networkingv1.PathTypePrefix),
					Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
						Name: service, Port: networkingv1.ServiceBackendPort{Name: "http"},
					}},
				}},
			}},
		}}},
	}
}

func serviceOf(name string, port int32) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: port}}},
	}
}

func sliceOf(service string, addresses ...string) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: service + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8000))}},
	}
	for _, address := range addresses {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	return slice
}

func keyOf(host route.Hostname) route.Key {
	return route.Key{Gateway: route.DefaultGateway, Host: host}
}

func portOf(service string, port int32) route.ServicePort {
	return route.ServicePort{Service: types.NamespacedName{Namespace: "shop", Name: service}, Port: port}
}

// An object comes after those that it refers to, and Open after everything. The
// controllers have nothing to add: nothing is published twice.
func TestStartPublishesOnePictureInOrder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := newWorld()
	for i := range 20 {
		name := fmt.Sprintf("s%d", i)
		w.Apply(ingressOf(name+".test", name), serviceOf(name, 80), sliceOf(name, "10.0.0.1"))
	}
	w.Sync()
	s := start(ctx, t, w)
	published := make(chan any, 100)
	s.wall.observe = func(what any) { published <- what }
	ended := make(chan error)
	go func() { ended <- s.controllers.Start(ctx) }()

	rank, total := 0, 0
	for rank < 3 {
		next := rankOf(receive(t, published))
		if next < rank {
			t.Errorf("rank %d is published after rank %d", next, rank)
		}
		rank = next
		total++
	}
	if want := 1 + 20 + 20 + 1; total != want {
		t.Errorf("%d values are published, want %d", total, want)
	}
	cancel()
	if err := receive(t, ended); err != nil {
		t.Errorf("ends with %v", err)
	}
	select {
	case more := <-published:
		t.Errorf("after Open %v is published again", more)
	default:
	}
}

func rankOf(published any) int {
	switch published.(type) {
	case route.Gateway:
		return 0
	case route.ServicePort:
		return 1
	case route.Key:
		return 2
	default:
		return 3 // Open
	}
}

func receive[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return value
}

// An object that goes away between the first pass and the start of the workers
// is not served for ever: no later event names it.
func TestStartMissesNothingThatHappensMeanwhile(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := newWorld()
	gone, stays := ingressOf("gone.test", "s"), ingressOf("stays.test", "s")
	w.Apply(gone, stays, serviceOf("s", 80))
	w.Sync()
	s := start(ctx, t, w)
	withdrawn := make(chan any, 100)
	s.wall.observe = func(what any) {
		switch {
		case what == nil: // Open: the workers do not run yet
			w.Remove(gone)
			w.Sync()
		case s.wall.opened > 0:
			withdrawn <- what
		}
	}
	ended := make(chan error)
	go func() { ended <- s.controllers.Start(ctx) }()
	for receive(t, withdrawn) != any(keyOf("gone.test")) {
	}
	cancel()
	if err := receive(t, ended); err != nil {
		t.Error(err)
	}
	if s.wall.hosts[keyOf("gone.test")] != nil || s.wall.hosts[keyOf("stays.test")] == nil {
		t.Errorf("hosts %v, want stays.test alone", s.wall.hosts)
	}
}

// A cache that cannot be read ends Start before anything is opened.
func TestStartFailsWhenTheFirstPassDoes(t *testing.T) {
	s := start(t.Context(), t, newWorld())
	s.controllers.Cache = laggingcache.Unreadable{World: s.world.World}
	if err := s.controllers.Start(t.Context()); !errors.Is(err, laggingcache.ErrAway) {
		t.Errorf("error %v, want %v", err, laggingcache.ErrAway)
	}
	if s.wall.opened != 0 {
		t.Error("an incomplete picture is opened")
	}
}

func TestStartEndsQuietlyWhenItsContextHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := start(ctx, t, newWorld())
	cancel()
	if err := s.controllers.Start(ctx); err != nil {
		t.Error(err)
	}
	if s.wall.opened != 0 {
		t.Error("the picture is opened")
	}
}

// A panic over one key costs only that key, which is tried again.
func TestAPanicCostsItsKeyOnly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := newWorld()
	s := start(ctx, t, w)
	s.controllers.Log = logr.Discard()
	served := make(chan any, 100)
	panics := 3
	s.wall.observe = func(what any) {
		if what == any(keyOf("bad.test")) && panics > 0 {
			panics--
			panic("a bug")
		}
		served <- what
	}
	ended := make(chan error)
	go func() { ended <- s.controllers.Start(ctx) }()
	for receive(t, served) != nil {
	}
	w.Apply(ingressOf("bad.test", "s"))
	w.Sync()
	for receive(t, served) != any(keyOf("bad.test")) {
	}
	if panics != 0 {
		t.Errorf("%d panics are left", panics)
	}
	cancel()
	if err := receive(t, ended); err != nil {
		t.Error(err)
	}
}
