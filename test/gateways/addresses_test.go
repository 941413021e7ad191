package gateways_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/road"
)

// shows is a check for Eventually: the Ingress shows that address, or none.
func shows(r *road.Road, name, want string) func(context.Context) error {
	return func(ctx context.Context) error {
		ing := &networkingv1.Ingress{}
		if err := r.Client.Get(ctx, client.ObjectKey{Namespace: road.Namespace, Name: name}, ing); err != nil {
			return err
		}
		got := ""
		for _, a := range ing.Status.LoadBalancer.Ingress {
			got += a.IP + a.Hostname
		}
		if got != want {
			return fmt.Errorf("ingress %s shows %q, want %q", name, got, want)
		}
		return nil
	}
}

// Each gateway has its addresses, and an Ingress that moves to another shows the
// new one when it is served there, not before.
func TestEachGatewayHasItsAddresses(t *testing.T) {
	const outside, inside = "192.0.2.1", "192.0.2.2"
	road.Backend(t, "shop", "10.77.1.1")
	r := road.Start(t, road.Options{
		Before: func(r *road.Road) { r.InstallCustomResources(t) },
		Flags:  []string{"--publish-address", outside, "--publish-service", "inner=" + road.Namespace + "/entry"},
	})
	inner := road.Class("inner")
	inner.Spec.Parameters = parameters("inner")
	moving := road.Ingress("moving", "outer", "moving.test", "/", "shop")
	r.Create(t, configOf("inner", innerPort), road.Class("outer"), inner, road.Service("shop"), road.Slice("shop", "10.77.1.1"),
		moving, road.Ingress("stays", "inner", "stays.test", "/", "shop"))
	road.Eventually(t, patience, shows(r, "moving", outside))
	road.Eventually(t, patience, r.Metric(`fairway_problems{kind="Service",reason="NoAddress"} 1`))

	entry := road.Service("entry")
	entry.Spec.ExternalIPs = []string{inside}
	r.Create(t, entry)
	road.Eventually(t, patience, r.NoMetric("fairway_problems"))
	change(t, r, moving, func(o *networkingv1.Ingress) { o.Spec.IngressClassName = new("inner") })
	road.Eventually(t, patience, answers(outerPort, "moving.test", ""))
	if err := shows(r, "moving", outside)(t.Context()); err != nil { // no Envoy of the other gateway is there
		t.Error(err)
	}
	if err := shows(r, "stays", "")(t.Context()); err != nil {
		t.Error(err)
	}
	r.StartEnvoy(t, "inner").WaitReady(t)
	road.Eventually(t, patience, shows(r, "moving", inside))
	road.Eventually(t, patience, shows(r, "stays", inside))
	if err := answers(innerPort, "moving.test", "shop")(t.Context()); err != nil {
		t.Errorf("it shows the address and yet: %v", err)
	}

	change(t, r, entry, func(o *corev1.Service) { o.Spec.ExternalIPs = []string{"192.0.2.3"} })
	road.Eventually(t, patience, shows(r, "stays", "192.0.2.3"))
}
