package status_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
)

// keepers watch that no Ingress loses an address that it had.
type keepers struct {
	mu   sync.Mutex
	had  map[string]string
	lost []string
}

// keep watches until the test ends; it survives that the API server is away.
func keep(t *testing.T, r *fairway.Installation) *keepers {
	t.Helper()
	clients, err := kubernetes.NewForConfig(r.Cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	k := &keepers{had: map[string]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			list, err := clients.NetworkingV1().Ingresses(fairway.Namespace).List(ctx, metav1.ListOptions{})
			if err == nil {
				k.look(list.Items)
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		for _, what := range k.lost {
			t.Error(what)
		}
	})
	return k
}

func (k *keepers) look(ingresses []networkingv1.Ingress) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range ingresses {
		now := ""
		for _, a := range i.Status.LoadBalancer.Ingress {
			now += a.IP + a.Hostname + " "
		}
		if had := k.had[i.Name]; had != "" && now != had {
			k.lost = append(k.lost, fmt.Sprintf("ingress %s had the address %q and now has %q", i.Name, had, now))
		}
		k.had[i.Name] = now
	}
}

// batch creates Ingresses and returns what to check of each.
func batch(t *testing.T, r *fairway.Installation, name string, n int) (all func(want string)) {
	t.Helper()
	for i := range n {
		r.Create(t, ingress(fmt.Sprintf("%s-%d", name, i)))
	}
	return func(want string) {
		t.Helper()
		for i := range n {
			fairway.Eventually(t, time.Minute, has(r, fmt.Sprintf("%s-%d", name, i), want))
			served(t, fmt.Sprintf("%s-%d.test", name, i))
		}
	}
}

// Whatever becomes of the controllers, what has an address keeps it, and what
// has none yet gets one when it is served.
func TestFailover(t *testing.T) {
	r := start(t, fairway.Options{Replicas: 2, Envoys: 2, Flags: []string{"--publish-address", address}})
	keep(t, r)
	batch(t, r, "before", 5)(address)
	t.Run("the leader is killed in mid-change", func(t *testing.T) { testLeaderKilled(t, r) })
	t.Run("the leader stops", func(t *testing.T) { testLeaderStops(t, r) })
	t.Run("all stop", func(t *testing.T) { testAllStop(t, r) })
	t.Run("the API server is away", func(t *testing.T) { testAPIServerAway(t, r) })
}

// The other replica takes over when the Lease has expired. The Lease of the dead
// one is still there, and does not count for ever.
func testLeaderKilled(t *testing.T, r *fairway.Installation) {
	led := leader(t, r)
	all := batch(t, r, "killed", 10)
	r.Replicas[led].Kill()
	all(address)
	if now := leader(t, r); now == led {
		t.Error("the dead replica leads")
	}
	r.RestartReplica(t, led)
	fairway.Eventually(t, patience, r.Replicas[led].Says("fairway_leader 0"))
	batch(t, r, "restarted", 3)(address)
}

// A leader that stops as it should hands over at once.
func testLeaderStops(t *testing.T, r *fairway.Installation) {
	led := leader(t, r)
	all := batch(t, r, "stopped", 10)
	if err := r.Replicas[led].Stop(t, patience); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	lease := &coordinationv1.Lease{}
	if err := r.Client.Get(t.Context(), client.ObjectKey{Namespace: "fairway-system", Name: "fairway-controller"}, lease); err != nil {
		t.Fatal(err)
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder == r.Replicas[led].Identity {
		t.Error("it has ended and holds the Lease, which the others wait for to expire")
	}
	began := time.Now()
	all(address)
	soak.Promised(t, "until the other replica had taken over", time.Since(began), 10*time.Second)
	r.RestartReplica(t, led)
	fairway.Eventually(t, patience, r.Replicas[led].Says("fairway_leader 0"))
}

func testAllStop(t *testing.T, r *fairway.Installation) {
	for _, replica := range r.Replicas {
		replica.Kill()
	}
	all := batch(t, r, "nobody", 3)
	for i := range r.Replicas {
		r.RestartReplica(t, i)
	}
	all(address)
}

// The API server is away for longer than the Lease holds: nobody leads, nobody
// ends, everything is served.
func testAPIServerAway(t *testing.T, r *fairway.Installation) {
	before := leader(t, r)
	for _, replica := range r.Replicas {
		replica.Tolerate("Failed to watch", "forbidden")
	}
	load := r.StartLoad(t, "before-0.test", "/")
	r.Cluster.StopAPIServer()
	fairway.Eventually(t, patience, r.Replicas[before].Says("fairway_leader 0"))
	fairway.Eventually(t, patience, load.Reaches("shop", 500))
	if err := r.Cluster.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	leader(t, r)
	batch(t, r, "back", 3)(address)
	load.StopClean()
	for _, replica := range r.Replicas {
		fairway.Eventually(t, patience, replica.Says("fairway_xds_timeouts_total 0"))
	}
}
