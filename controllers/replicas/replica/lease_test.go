package replica

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// hostless is a server without hosts.
type hostless struct{}

func (hostless) Host(route.Key) server.HostState { return server.HostState{} }

// Even if something changes all the time, the Lease is renewed. An Envoy that does
// not catch up is awaited no longer than usual.
func TestConstantWakesStarveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := fake.NewClientset()
		tracker := &Tracker{Hosts: hostless{}}
		lease := NewLease(&Lease{
			Leases: clients.CoordinationV1(), Namespace: "fairway-system", Identity: "own", Tracker: tracker, Log: logr.Discard(),
			Envoys: func() []server.EnvoyState { return []server.EnvoyState{{Gateway: "g", Node: "n"}} },
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- lease.Start(ctx) }()
		last := func() time.Time {
			t.Helper()
			got, err := clients.CoordinationV1().Leases("fairway-system").Get(ctx, "fairway-controller-own", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return got.Spec.RenewTime.Time
		}
		for step := range 400 { // 20 s
			<-time.After(50 * time.Millisecond)
			tracker.changed()
			synctest.Wait()
			if step > 10 && time.Since(last()) > renewal+time.Second {
				t.Fatalf("after %d wakes the lease is %s old", step, time.Since(last()))
			}
		}
		if got := tracker.Report().Gateways["g"]; !got.equal(Gateway{Envoys: 1}) {
			t.Errorf("%+v: the Envoy that never catches up is still awaited", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
