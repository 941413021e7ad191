package status_test

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
)

const theirs = "198.51.100.1" // what another controller writes

// The addresses of Ingresses that are not ours, or no longer.
func TestWhoseAddressItIs(t *testing.T) {
	r := start(t, fairway.Options{Flags: []string{"--publish-address", address, "--publish-address", "gateway.example"}})
	foreign := fairway.Class("foreign")
	foreign.Spec.Controller = "example.com/ingress-controller"
	r.Create(t, foreign)
	t.Run("two controllers", func(t *testing.T) { testForeign(t, r) })
	t.Run("the class is another", func(t *testing.T) { testClassChanged(t, r) })
	t.Run("the class is gone", func(t *testing.T) { testClassGone(t, r) })
	t.Run("somebody overwrites it", func(t *testing.T) { testOverwritten(t, r) })
}

// write is what another controller does to the status.
func write(t *testing.T, r *fairway.Installation, name string, addresses ...string) {
	t.Helper()
	i, err := get(t.Context(), r, name)
	if err != nil {
		t.Fatal(err)
	}
	i.Status.LoadBalancer.Ingress = nil
	for _, a := range addresses {
		i.Status.LoadBalancer.Ingress = append(i.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{IP: a})
	}
	if err := r.Client.Status().Update(t.Context(), i, client.FieldOwner("example")); err != nil {
		t.Fatal(err)
	}
}

// touched says whether Fairway has ever written into the Ingress.
func touched(ctx context.Context, r *fairway.Installation, name string) (bool, error) {
	i, err := get(ctx, r, name)
	return slices.ContainsFunc(i.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == "fairway" }), err
}

// Another controller's Ingress is not touched, with an address or without.
func testForeign(t *testing.T, r *fairway.Installation) {
	with, without := ingress("with"), ingress("without")
	with.Spec.IngressClassName, without.Spec.IngressClassName = new("foreign"), new("foreign")
	r.Create(t, with, without)
	write(t, r, "with", theirs)
	r.Create(t, ingress("ours"))
	fairway.Eventually(t, patience, has(r, "ours", address, "gateway.example"))
	if err := has(r, "with", theirs)(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"with", "without"} {
		if is, err := touched(t.Context(), r, name); is || err != nil {
			t.Errorf("%s: touched %t, error %v", name, is, err)
		}
	}
	hasNone(t, r, "without")
}

// An Ingress that names a class of another controller loses what we wrote, and
// that alone; one that comes to us gets our address when it is served.
func testClassChanged(t *testing.T, r *fairway.Installation) {
	leaves, comes := ingress("leaves"), ingress("comes")
	comes.Spec.IngressClassName = new("foreign")
	r.Create(t, leaves, comes)
	write(t, r, "comes", theirs)
	fairway.Eventually(t, patience, has(r, "leaves", address, "gateway.example"))
	change(t, r, leaves, func(i *networkingv1.Ingress) { i.Spec.IngressClassName = new("foreign") })
	fairway.Eventually(t, patience, has(r, "leaves"))
	if is, err := touched(t.Context(), r, "leaves"); is || err != nil {
		t.Errorf("we still own something: %t, error %v", is, err)
	}
	write(t, r, "leaves", theirs)
	change(t, r, comes, func(i *networkingv1.Ingress) { i.Spec.IngressClassName = new(class) })
	fairway.Eventually(t, patience, has(r, "comes", address, "gateway.example"))
	served(t, "comes.test")
	if err := has(r, "leaves", theirs)(t.Context()); err != nil {
		t.Error(err)
	}
	// The other controller was faster than we are.
	raced := ingress("raced")
	r.Create(t, raced)
	fairway.Eventually(t, patience, has(r, "raced", address, "gateway.example"))
	write(t, r, "raced", theirs)
	change(t, r, raced, func(i *networkingv1.Ingress) { i.Spec.IngressClassName = new("foreign") })
	barrier(t, r, "after-race")
	if err := has(r, "raced", theirs)(t.Context()); err != nil {
		t.Error(err)
	}
}

// barrier waits until an Ingress that is created now has its address: what was
// to be done before is done.
func barrier(t *testing.T, r *fairway.Installation, name string) {
	t.Helper()
	r.Create(t, ingress(name))
	fairway.Eventually(t, patience, has(r, name, address, "gateway.example"))
}

// A class that is deleted, as some tools do to write it anew, takes no address
// with it.
func testClassGone(t *testing.T, r *fairway.Installation) {
	passing := fairway.Class("passing")
	r.Create(t, passing)
	i := ingress("passing")
	i.Spec.IngressClassName = new("passing")
	r.Create(t, i)
	fairway.Eventually(t, patience, has(r, "passing", address, "gateway.example"))
	if err := r.Client.Delete(t.Context(), passing); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, fairway.Status("passing.test", "/", 404))
	barrier(t, r, "after-passing")
	if err := has(r, "passing", address, "gateway.example")(t.Context()); err != nil {
		t.Error(err)
	}
	// An Ingress that nobody serves is not given one by its class alone.
	late := ingress("late")
	late.Spec.IngressClassName = new("passing")
	r.Create(t, late)
	barrier(t, r, "after-late")
	hasNone(t, r, "late")
	r.Create(t, fairway.Class("passing"))
	fairway.Eventually(t, patience, has(r, "late", address, "gateway.example"))
	served(t, "late.test")
}

func testOverwritten(t *testing.T, r *fairway.Installation) {
	r.Create(t, ingress("overwritten"))
	fairway.Eventually(t, patience, has(r, "overwritten", address, "gateway.example"))
	write(t, r, "overwritten", theirs)
	fairway.Eventually(t, patience, has(r, "overwritten", address, "gateway.example"))
}

// The addresses of a Service: those that it gets are passed on, those that it
// loses are kept.
func TestPublishedService(t *testing.T) {
	r := start(t, fairway.Options{Flags: []string{"--publish-service", "fairway-system/entry"}})
	keep(t, r)
	r.Create(t, ingress("first"))
	fairway.Eventually(t, patience, fairway.Answers("first.test", "/", "shop"))
	hasNone(t, r, "first")
	leads := r.Replicas[leader(t, r)]
	const missed = `fairway_problems{kind="Service",reason="NoAddress"} 1`
	fairway.Eventually(t, patience, leads.Says(missed))

	service := fairway.Service("entry")
	service.Namespace = "fairway-system"
	service.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: service.Spec.Ports}
	r.Create(t, service)
	balance := func(addresses ...string) {
		t.Helper()
		service.Status.LoadBalancer.Ingress = nil
		for _, a := range addresses {
			service.Status.LoadBalancer.Ingress = append(service.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
		}
		if err := r.Client.Status().Update(t.Context(), service); err != nil {
			t.Fatal(err)
		}
	}
	balance(address)
	fairway.Eventually(t, patience, has(r, "first", address))
	if leads.Says(missed)(t.Context()) == nil {
		t.Error("a Service with an address has a Problem")
	}
	balance()
	fairway.Eventually(t, patience, leads.Says(missed))
	r.Create(t, ingress("second"))
	fairway.Eventually(t, patience, fairway.Answers("second.test", "/", "shop"))
	if err := r.Client.Delete(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	if err := has(r, "first", address)(t.Context()); err != nil {
		t.Error(err)
	}
	hasNone(t, r, "second")
	service.ResourceVersion, service.UID = "", ""
	r.Create(t, service)
	balance(address)
	fairway.Eventually(t, patience, has(r, "second", address))
}
