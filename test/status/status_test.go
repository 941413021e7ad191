// Package status_test tests what an address in the status of an Ingress
// promises: real API server, real controllers with the rights of config/rbac,
// real Envoys.
package status_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/soak"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

// patience is how long a change may take on a machine that is busy otherwise.
const patience = 30 * time.Second

const (
	class   = "public"
	address = "192.0.2.1"
)

// start brings two replicas up, with an Envoy each, and a Service "shop".
func start(t *testing.T, options fairway.Options) *fairway.Installation {
	t.Helper()
	if options.Replicas == 0 {
		options.Replicas, options.Envoys, options.Pinned = 2, 2, true
	}
	options.Before = func(r *fairway.Installation) {
		ip := r.Address()
		fairway.Backend(t, "shop", ip)
		r.Create(t, fairway.Class(class), fairway.Service("shop"), fairway.Slice("shop", ip))
	}
	return fairway.Start(t, options)
}

func ingress(name string) *networkingv1.Ingress {
	return fairway.Ingress(name, class, name+".test", "/", "shop")
}

func get(ctx context.Context, r *fairway.Installation, name string) (*networkingv1.Ingress, error) {
	i := &networkingv1.Ingress{}
	return i, r.Client.Get(ctx, client.ObjectKey{Namespace: fairway.Namespace, Name: name}, i)
}

// has is a check for fairway.Eventually: the Ingress has exactly these addresses.
func has(r *fairway.Installation, name string, want ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		i, err := get(ctx, r, name)
		if err != nil {
			return err
		}
		var got []string
		for _, a := range i.Status.LoadBalancer.Ingress {
			got = append(got, a.IP+a.Hostname)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("ingress %s has addresses %q, want %q", name, got, want)
		}
		return nil
	}
}

// hasNone demands that the Ingress has no address now.
func hasNone(t *testing.T, r *fairway.Installation, name string) {
	t.Helper()
	if err := has(r, name)(t.Context()); err != nil {
		t.Error(err)
	}
}

// change changes an object as it is now.
func change[O client.Object](t *testing.T, r *fairway.Installation, object O, how func(O)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		how(object)
		return r.Client.Update(t.Context(), object)
	})
	if err != nil {
		t.Fatalf("change %T %s: %v", object, object.GetName(), err)
	}
}

// served demands that every Envoy serves the host now: the kernel spreads
// connections over them.
func served(t *testing.T, host string) {
	t.Helper()
	for range 20 {
		if err := fairway.Answers(host, "/", "shop")(t.Context()); err != nil {
			t.Errorf("it has an address and yet: %v", err)
		}
	}
}

// leader waits until some replica leads, and returns which.
func leader(t *testing.T, r *fairway.Installation) int {
	t.Helper()
	found := -1
	fairway.Eventually(t, patience, func(ctx context.Context) error {
		for i, replica := range r.Replicas {
			if replica.Says("fairway_leader 1")(ctx) == nil {
				found = i
				return nil
			}
		}
		return fmt.Errorf("no replica leads")
	})
	return found
}

// What an address means, and what it takes. A later test has what the earlier ones leave behind.
func TestAddresses(t *testing.T) {
	r := start(t, fairway.Options{Flags: []string{"--publish-address", address}})
	leader(t, r)
	r.Create(t, ingress("first"))
	fairway.Eventually(t, patience, has(r, "first", address)) // which waits for Envoys that a start might have left alone
	t.Run("one means served", func(t *testing.T) { testAnAddressMeansServed(t, r) })
	t.Run("many at once", func(t *testing.T) { testManyAtOnce(t, r) })
	t.Run("a Service goes", func(t *testing.T) { testServiceGoes(t, r) })
	t.Run("an Envoy never answers", func(t *testing.T) { testFrozen(t, r) })
	t.Run("an Envoy refuses a host", func(t *testing.T) { testRefused(t, r) })
	t.Run("there is no Envoy", func(t *testing.T) { testNoEnvoy(t, r) })
}

// An address means that every Envoy of both replicas serves, and it is there soon.
func testAnAddressMeansServed(t *testing.T, r *fairway.Installation) {
	var slowest time.Duration
	for n := range 20 {
		name := fmt.Sprintf("shop-%d", n)
		i := ingress(name)
		began := time.Now()
		r.Create(t, i)
		fairway.Eventually(t, patience, has(r, name, address))
		slowest = max(slowest, time.Since(began))
		served(t, name+".test")
	}
	soak.Promised(t, "the slowest from create to address", slowest, time.Second)
}

// A Service that goes takes no address with it.
func testServiceGoes(t *testing.T, r *fairway.Installation) {
	ip := r.Address()
	fairway.Backend(t, "passing", ip)
	service := fairway.Service("passing")
	r.Create(t, service, fairway.Slice("passing", ip), fairway.Ingress("passing", class, "passing.test", "/", "passing"))
	fairway.Eventually(t, patience, has(r, "passing", address))
	if err := r.Client.Delete(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, fairway.Status("passing.test", "/", 503))
	if err := has(r, "passing", address)(t.Context()); err != nil {
		t.Error(err)
	}
}
