package gateways_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/fairway"
)

// shows is a check for Eventually: the Ingress shows that address, or none.
func shows(r *fairway.Installation, name, want string) func(context.Context) error {
	return func(ctx context.Context) error {
		ing := &networkingv1.Ingress{}
		if err := r.Client.Get(ctx, client.ObjectKey{Namespace: fairway.Namespace, Name: name}, ing); err != nil {
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

// tells is a check for Eventually: the backend is told that the client used that port.
func tells(envoy int, host, port string) func(context.Context) error {
	return func(ctx context.Context) error {
		a, err := fairway.GetAt(ctx, envoy, host, "/")
		if got := a.Header.Get("Port-Was"); err == nil && got != port {
			err = fmt.Errorf("%s at %d: X-Forwarded-Port is %q, want %s", host, envoy, got, port)
		}
		return err
	}
}

// Backends are told the port of the Service that publishes the gateway, whatever
// Envoy binds, and when that changes the new one. Requests meanwhile do not fail.
func TestBackendsAreToldThePortOfTheService(t *testing.T) {
	fairway.Backend(t, "shop", "10.77.1.1")
	entry := fairway.Service("entry")
	publish := func(port int32) {
		entry.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: port, TargetPort: intstr.FromInt32(outerPort)}}
	}
	publish(80)
	r := fairway.Start(t, fairway.Options{
		Before: func(r *fairway.Installation) {
			r.InstallCustomResources(t)
			r.Create(t, entry)
		},
		Flags: []string{"--publish-service", fairway.Namespace + "/entry", "--publish-address", "inner=192.0.2.2"},
	})
	inner := fairway.Class("inner")
	inner.Spec.Parameters = parameters("inner")
	r.Create(t, configOf("inner", innerPort), fairway.Class("outer"), inner, fairway.Service("shop"), fairway.Slice("shop", "10.77.1.1"),
		fairway.Ingress("outer", "outer", "outer.test", "/", "shop"), fairway.Ingress("inner", "inner", "inner.test", "/", "shop"))
	r.StartEnvoy(t, "inner").WaitReady(t)
	fairway.Eventually(t, patience, tells(outerPort, "outer.test", "80"))
	fairway.Eventually(t, patience, tells(innerPort, "inner.test", fmt.Sprint(innerPort))) // it has addresses, and no Service

	load := r.StartLoad(t, "outer.test", "/")
	change(t, r, entry, func(*corev1.Service) { publish(8000) })
	fairway.Eventually(t, patience, tells(outerPort, "outer.test", "8000"))
	load.StopClean()

	config := &v1alpha1.ClusterGatewayConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	config.Spec.PublicPorts = &v1alpha1.PublicPorts{HTTP: new(int32(8888))}
	r.Create(t, config)
	fairway.Eventually(t, patience, tells(outerPort, "outer.test", "8888"))
	if err := r.Client.Delete(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, tells(outerPort, "outer.test", "8000"))
	if err := r.Client.Delete(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, tells(outerPort, "outer.test", fmt.Sprint(outerPort)))
}

// Each gateway has its addresses, and an Ingress that moves to another shows the
// new one when it is served there, not before.
func TestEachGatewayHasItsAddresses(t *testing.T) {
	const outside, inside = "192.0.2.1", "192.0.2.2"
	fairway.Backend(t, "shop", "10.77.1.1")
	r := fairway.Start(t, fairway.Options{
		Before: func(r *fairway.Installation) { r.InstallCustomResources(t) },
		Flags:  []string{"--publish-address", outside, "--publish-service", "inner=" + fairway.Namespace + "/entry"},
	})
	inner := fairway.Class("inner")
	inner.Spec.Parameters = parameters("inner")
	moving := fairway.Ingress("moving", "outer", "moving.test", "/", "shop")
	r.Create(t, configOf("inner", innerPort), fairway.Class("outer"), inner, fairway.Service("shop"), fairway.Slice("shop", "10.77.1.1"),
		moving, fairway.Ingress("stays", "inner", "stays.test", "/", "shop"))
	fairway.Eventually(t, patience, shows(r, "moving", outside))
	fairway.Eventually(t, patience, r.Metric(`fairway_problems{kind="Service",reason="NoAddress"} 1`))

	entry := fairway.Service("entry")
	entry.Spec.ExternalIPs = []string{inside}
	r.Create(t, entry)
	fairway.Eventually(t, patience, r.NoMetric("fairway_problems"))
	change(t, r, moving, func(o *networkingv1.Ingress) { o.Spec.IngressClassName = new("inner") })
	fairway.Eventually(t, patience, answers(outerPort, "moving.test", ""))
	if err := shows(r, "moving", outside)(t.Context()); err != nil { // no Envoy of the other gateway is there
		t.Error(err)
	}
	if err := shows(r, "stays", "")(t.Context()); err != nil {
		t.Error(err)
	}
	r.StartEnvoy(t, "inner").WaitReady(t)
	fairway.Eventually(t, patience, shows(r, "moving", inside))
	fairway.Eventually(t, patience, shows(r, "stays", inside))
	if err := answers(innerPort, "moving.test", "shop")(t.Context()); err != nil {
		t.Errorf("it shows the address and yet: %v", err)
	}

	change(t, r, entry, func(o *corev1.Service) { o.Spec.ExternalIPs = []string{"192.0.2.3"} })
	fairway.Eventually(t, patience, shows(r, "stays", "192.0.2.3"))
}
