package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/cable"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
)

// published is the address that Ingresses show.
const published = "192.0.2.1"

// divided is a cluster with two controllers, of which the first reaches the API
// server by a cable, and gateways: two that are with the first and may ask both, and
// one that asks the second alone.
type divided struct {
	*fairway.Installation

	cable    *cable.Cable
	gateways []*fairway.Gateway
}

func divide(t *testing.T) *divided {
	t.Helper()
	fairway.Backend(t, "shop", "10.77.2.1")
	d := &divided{Installation: fairway.Start(t, fairway.Options{Envoys: -1, Flags: []string{"--publish-address", published}})}
	d.Replicas[0].Kill()
	way, kubeconfig := d.Cable(t)
	d.cable = way
	d.StartController(t, "--kubeconfig", kubeconfig)
	fairway.Eventually(t, patience, d.Ready)
	second := d.StartReplica(t) // so that there is an address to ask
	second.Kill()
	for range 2 {
		fairway.Eventually(t, patience, d.gateway(t, d.Replicas...).Ready)
	}
	d.RestartReplica(t, 1)
	for _, replica := range d.Replicas {
		replica.Tolerate("Failed to watch", "forbidden", "Error retrieving lease lock", "Failed to update lock", "error initially creating leader election record")
		fairway.Eventually(t, patience, ready(replica))
	}
	fairway.Eventually(t, patience, d.gateway(t, second).Ready)
	fairway.Eventually(t, patience, d.Replicas[0].Says("fairway_xds_envoys 2"))
	fairway.Eventually(t, patience, second.Says("fairway_xds_envoys 1"))
	d.Create(t, fairway.Class("fairway"), fairway.Service("shop"), fairway.Slice("shop", "10.77.2.1"),
		fairway.Ingress("shop", "fairway", "shop.test", "/", "shop"))
	fairway.Eventually(t, patience, d.shows("shop"))
	return d
}

// gateway starts one more gateway, which may ask these controllers.
func (d *divided) gateway(t *testing.T, may ...*fairway.Replica) *fairway.Gateway {
	t.Helper()
	flags := []string{"--node", fmt.Sprint("envoy-", len(d.gateways)), "--drain-delay", "0s"}
	for _, replica := range may {
		flags = append(flags, "--xds", replica.XDS.String())
	}
	g := d.StartGateway(t, flags...)
	d.gateways = append(d.gateways, g)
	return g
}

// shows is a check for Eventually: the Ingress has its address.
func (d *divided) shows(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		var i networkingv1.Ingress
		err := d.Client.Get(ctx, client.ObjectKey{Namespace: fairway.Namespace, Name: name}, &i)
		if err == nil && (len(i.Status.LoadBalancer.Ingress) != 1 || i.Status.LoadBalancer.Ingress[0].IP != published) {
			err = fmt.Errorf("ingress %s has the addresses %v", name, i.Status.LoadBalancer.Ingress)
		}
		return err
	}
}

// promised creates an Ingress, and demands that every Envoy serves it when it has
// its address.
func (d *divided) promised(t *testing.T, name string) {
	t.Helper()
	d.Create(t, fairway.Ingress(name, "fairway", name+".test", "/", "shop"))
	fairway.Eventually(t, patience, d.shows(name))
	for range 40 { // the kernel spreads connections over the Envoys
		if err := fairway.Answers(name+".test", "/", "shop")(t.Context()); err != nil {
			t.Fatalf("ingress %s has its address and yet: %v", name, err)
		}
	}
}

func ready(r *fairway.Replica) func(context.Context) error {
	return (&fairway.Installation{Metrics: r.Metrics}).Ready
}

// cutOff is a check for Eventually: the replica is not ready, and says why.
func cutOff(r *fairway.Replica) func(context.Context) error {
	return func(ctx context.Context) error {
		err := ready(r)(ctx)
		if err == nil || !strings.Contains(err.Error(), "status 503") || !strings.Contains(err.Error(), "cut off from the API server for ") {
			return fmt.Errorf("%s says of itself: %w", r.Identity, errors.Join(err, errors.New("want that it is cut off")))
		}
		return nil
	}
}

// age is a check for Eventually: how old a gateway says that its configuration is.
func age(g *fairway.Gateway, ok func(seconds float64) bool) func(context.Context) error {
	return func(ctx context.Context) error {
		text, err := g.Metrics(ctx)
		if err != nil {
			return err
		}
		for line := range strings.Lines(text) {
			value, found := strings.CutPrefix(line, "fairway_gateway_configuration_age_seconds ")
			if !found {
				continue
			}
			seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err == nil && !ok(seconds) {
				err = fmt.Errorf("the configuration is %g s old", seconds)
			}
			return err
		}
		return errors.New("it does not say how old its configuration is")
	}
}

func isNew(seconds float64) bool { return seconds < 6 }

// One controller is cut off from the API server: its Envoys go to the other before
// anybody counts on it, and come to no harm.
func TestACutOffControllerHandsItsEnvoysOver(t *testing.T) {
	for _, way := range []struct {
		name string
		cut  func(*cable.Cable)
	}{
		{"connections are refused", (*cable.Cable).Cut},
		{"nothing is answered", (*cable.Cable).Silence},
	} {
		t.Run(way.name, func(t *testing.T) {
			d := divide(t)
			first, second := d.Replicas[0], d.Replicas[1]
			load := d.StartLoad(t, "shop.test", "/")
			way.cut(d.cable)
			began := time.Now()
			d.promised(t, "meanwhile")
			t.Logf("an address was given %s after the cut", time.Since(began).Round(time.Millisecond))
			fairway.Eventually(t, patience, cutOff(first))
			fairway.Eventually(t, patience, first.Says("fairway_xds_envoys 0"))
			fairway.Eventually(t, patience, second.Says("fairway_xds_envoys 3"))
			for _, g := range d.gateways {
				fairway.Eventually(t, patience, age(g, isNew))
			}

			t.Log("one that starts now comes to the other")
			fairway.Eventually(t, patience, d.gateway(t, d.Replicas...).Ready)
			fairway.Eventually(t, patience, second.Says("fairway_xds_envoys 4"))
			d.promised(t, "later")

			t.Log("the controller is in contact again, and serves again")
			d.cable.Mend(t)
			fairway.Eventually(t, 2*patience, ready(first))
			fairway.Eventually(t, patience, d.gateway(t, first).Ready)
			fairway.Eventually(t, patience, first.Says("fairway_xds_envoys 1"))
			d.promised(t, "back")
			load.StopClean()
		})
	}
}

// The API server is away for all: Envoys serve on, each with a controller before
// long, and one that starts gets the picture that there is.
func TestAllControllersCutOff(t *testing.T) {
	d := divide(t)
	load := d.StartLoad(t, "shop.test", "/")
	d.Cluster.StopAPIServer()
	for _, replica := range d.Replicas {
		fairway.Eventually(t, patience, cutOff(replica))
	}
	connected := func(n int) func(context.Context) error {
		return func(ctx context.Context) error {
			for i := range n + 1 {
				if d.Replicas[0].Says(fmt.Sprintf("fairway_xds_envoys %d", i))(ctx) == nil &&
					d.Replicas[1].Says(fmt.Sprintf("fairway_xds_envoys %d", n-i))(ctx) == nil {
					return nil
				}
			}
			return fmt.Errorf("not all of %d Envoys have a controller", n)
		}
	}
	fairway.Eventually(t, patience, connected(3))
	t.Log("a gateway starts")
	began := time.Now()
	started := d.gateway(t, d.Replicas...)
	fairway.Eventually(t, patience, started.Ready)
	t.Logf("it was ready after %s", time.Since(began).Round(time.Millisecond))
	fairway.Eventually(t, patience, connected(4))
	for _, g := range d.gateways[:3] {
		fairway.Eventually(t, patience, age(g, func(seconds float64) bool { return seconds > 15 }))
		fairway.Eventually(t, patience, g.Says("/readyz", http.StatusOK, "ok"))
	}
	came := d.connections()
	fairway.Eventually(t, patience, age(started, func(seconds float64) bool { return seconds > soak.Pick[float64](20, 50) }))
	// Each was sent away once by a controller that was cut off, and perhaps once
	// more after a minute.
	if n := d.connections(); n > came+4 || came > 10 {
		t.Errorf("Envoys connected %d times, then %d: they go round in circles", came, n)
	}
	for range 40 {
		if err := fairway.Answers("shop.test", "/", "shop")(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	t.Log("the API server is back")
	if err := d.Cluster.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	for _, replica := range d.Replicas {
		fairway.Eventually(t, 2*patience, ready(replica))
	}
	d.promised(t, "back")
	for _, g := range d.gateways {
		fairway.Eventually(t, patience, age(g, isNew))
	}
	load.StopClean()
}

// connections is how often Envoys have connected to any controller.
func (d *divided) connections() int {
	return strings.Count(d.Replicas[0].Log()+d.Replicas[1].Log(), "envoy connected")
}
