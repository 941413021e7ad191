package status_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// told is a check for fairway.Eventually: there is an event with that reason on the
// Ingress whose message holds the text.
func told(r *fairway.Installation, name, reason, text string) func(context.Context) error {
	return func(ctx context.Context) error {
		var list corev1.EventList
		if err := r.Client.List(ctx, &list, client.InNamespace(fairway.Namespace)); err != nil {
			return err
		}
		var said []string
		for _, e := range list.Items {
			if e.InvolvedObject.Name != name {
				continue
			}
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return nil
			}
			said = append(said, e.Reason+": "+e.Message)
		}
		return fmt.Errorf("ingress %s has no event %s with %q, but %q", name, reason, text, said)
	}
}

// An Envoy that does not answer holds a new address up until it is disconnected,
// whether it hangs at the leader or at the other replica. What has an address
// keeps it.
func testFrozen(t *testing.T, r *fairway.Installation) {
	r.Create(t, ingress("before"))
	fairway.Eventually(t, patience, has(r, "before", address))
	for i, e := range r.Envoys {
		name := fmt.Sprintf("frozen-%d", i)
		thaw := e.Freeze(t)
		began := time.Now()
		r.Create(t, ingress(name))
		fairway.Eventually(t, patience, has(r, name, address))
		if took := time.Since(began); took < 4*time.Second {
			t.Errorf("the address was there after %s, and an Envoy did not serve it", took)
		}
		if err := has(r, "before", address)(t.Context()); err != nil {
			t.Error(err)
		}
		thaw()
		fairway.Eventually(t, patience, r.Replicas[i].Says("fairway_xds_envoys 1"))
	}
}

// An Envoy that refuses a host keeps the Ingress of that host from an address,
// and no other; its owner hears why.
func testRefused(t *testing.T, r *fairway.Installation) {
	for i, replica := range r.Replicas {
		replica.Tolerate("envoy refused", "defect of ours")
		conn, err := grpc.NewClient(replica.XDS.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		e := simulated.New(simulated.Options{
			Conn: conn, Gateway: "default", Node: fmt.Sprintf("picky-%d", i),
			Refuse: func(url, name string, body []byte) string {
				if url == envoy.TypeRoute && strings.Contains(string(body), "/poison") {
					return name + " holds /poison"
				}
				return ""
			},
		})
		e.Connect()
		fairway.Eventually(t, patience, replica.Says("fairway_xds_envoys 2"))
		poisoned, good := fmt.Sprintf("refused-%d", i), fmt.Sprintf("good-%d", i)
		bad := fairway.Ingress(poisoned, class, poisoned+".test", "/poison", "shop")
		r.Create(t, bad, ingress(good))
		fairway.Eventually(t, patience, has(r, good, address))
		fairway.Eventually(t, patience, told(r, poisoned, "NotServed", "/poison"))
		hasNone(t, r, poisoned)
		change(t, r, bad, func(i *networkingv1.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].Path = "/mended" })
		fairway.Eventually(t, patience, has(r, poisoned, address))
		e.Disconnect()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		fairway.Eventually(t, patience, replica.Says("fairway_xds_envoys 1"))
	}
}

// Without an Envoy nothing is served, and nobody is told otherwise. What has an
// address keeps it. One Envoy is there afterwards.
func testNoEnvoy(t *testing.T, r *fairway.Installation) {
	for _, e := range r.Envoys {
		e.Stop()
	}
	for _, replica := range r.Replicas {
		fairway.Eventually(t, patience, replica.Says("fairway_xds_envoys 0"))
	}
	r.Create(t, ingress("alone"))
	fairway.Eventually(t, patience, told(r, "alone", "NotServed", "no Envoy"))
	hasNone(t, r, "alone")
	if err := has(r, "before", address)(t.Context()); err != nil {
		t.Error(err)
	}
	r.AddEnvoy(t)
	fairway.Eventually(t, patience, has(r, "alone", address))
	served(t, "alone.test")
}
