package status_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
)

// Many Ingresses at once: each has its address soon after it was applied.
func testManyAtOnce(t *testing.T, r *fairway.Installation) {
	many, creators := soak.Pick(250, 1000), 4
	clients, err := kubernetes.NewForConfig(r.Cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	ingresses := clients.NetworkingV1().Ingresses(fairway.Namespace)
	listed, err := ingresses.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The API server ends a watch that does not keep up; this one goes on where it was.
	watching, err := watchtools.NewRetryWatcherWithContext(t.Context(), listed.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: ingresses.Watch,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()

	var creating sync.WaitGroup
	began := time.Now()
	for c := range creators {
		creating.Go(func() {
			for i := c; i < many; i += creators {
				if err := r.Client.Create(t.Context(), ingress(fmt.Sprintf("many-%d", i))); err != nil {
					t.Errorf("create: %v", err)
				}
			}
		})
	}
	applied, took := map[string]time.Time{}, map[string]time.Duration{}
	deadline := time.After(2 * time.Minute)
	for len(took) < many {
		select {
		case <-deadline:
			t.Fatalf("after two minutes %d of %d have an address", len(took), many)
		case e := <-watching.ResultChan():
			i, ok := e.Object.(*networkingv1.Ingress)
			if !ok {
				t.Fatalf("the watch has ended: %v", e)
			}
			if !strings.HasPrefix(i.Name, "many-") {
				continue
			}
			if _, known := applied[i.Name]; !known {
				applied[i.Name] = time.Now()
			}
			if _, known := took[i.Name]; !known && len(i.Status.LoadBalancer.Ingress) > 0 {
				took[i.Name] = time.Since(applied[i.Name])
			}
		}
	}
	all := time.Since(began)
	creating.Wait()
	var sorted []time.Duration
	for _, d := range took {
		sorted = append(sorted, d)
	}
	slices.Sort(sorted)
	t.Logf("%d Ingresses in %s; from applied to address p50 %s, p99 %s, slowest %s",
		many, all.Round(time.Millisecond), sorted[many/2], sorted[many*99/100], sorted[many-1])
	soak.Promised(t, "99 of 100 addresses", sorted[many*99/100], 10*time.Second)
}
