package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
)

// How many Ingresses of how many missing Services each BenchmarkMissingServices
// has, and how often all of them are woken at once.
const (
	badIngresses    = 100
	missingServices = 2000
	wakeEvery       = 200 * time.Millisecond
)

// BenchmarkMissingServices measures what Ingresses that name thousands of missing
// Services cost the changes of other hosts: while they rest, and while a Service
// that all of them name changes again and again.
func BenchmarkMissingServices(b *testing.B) {
	for _, kind := range []struct {
		name  string
		bad   int
		woken bool
	}{{"none", 0, false}, {"resting", badIngresses, false}, {"woken", badIngresses, true}} {
		b.Run(kind.name, func(b *testing.B) { missing(b, kind.bad, kind.woken) })
	}
}

func missing(b *testing.B, bad int, woken bool) {
	startBackends(b)
	noise := fairway.Service("noise")
	r := fairway.Start(b, fairway.Options{Before: func(r *fairway.Installation) {
		r.Create(b, fairway.Class(class), noise)
		if err := fill(b.Context(), r.Client, 100, onFirst); err != nil {
			b.Fatal(err)
		}
		creating, ctx := errgroup.WithContext(b.Context())
		creating.SetLimit(4)
		for i := range bad {
			creating.Go(func() error { return r.Client.Create(ctx, badIngress(i)) })
		}
		if err := creating.Wait(); err != nil {
			b.Fatal(err)
		}
	}})
	m := &meter{cluster: r.Client, probe: newProbe(b, time.Minute)}
	for i := range bad {
		if _, err := m.probe.await(b.Context(), fmt.Sprintf("bad-%d.test", i), none, by("first")); err != nil {
			b.Fatal(err)
		}
	}
	if woken {
		stop := wake(b, r.Client, noise)
		defer stop()
	}
	for b.Loop() {
		for range rounds {
			if err := m.round(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, kind := range kinds {
		s, name := kind.of(&m.changes), strings.Fields(kind.name)[0]
		b.ReportMetric(milliseconds(s.quantile(0.5)), name+"-p50-ms")
		b.ReportMetric(milliseconds(s.quantile(0.99)), name+"-p99-ms")
	}
}

// badIngress has one path that works, one to a Service that may change, and
// thousands to Services that are missing.
func badIngress(i int) *networkingv1.Ingress {
	name := fmt.Sprintf("bad-%d", i)
	ingress := fairway.Ingress(name, class, name+".test", "/", "first")
	http := ingress.Spec.Rules[0].HTTP
	http.Paths = append(http.Paths, fairway.Path("/noise", "noise"))
	for k := range missingServices {
		http.Paths = append(http.Paths, fairway.Path(fmt.Sprintf("/p-%d", k), fmt.Sprintf("%s-%d", name, k)))
	}
	return ingress
}

// wake changes the ports of a Service until the function that it returns is
// called.
func wake(b *testing.B, cluster client.Client, service *corev1.Service) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(wakeEvery)
		defer tick.Stop()
		for n := int32(0); ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			before := service.DeepCopy()
			service.Spec.Ports = append(service.Spec.Ports[:1], corev1.ServicePort{Name: "other", Port: 1000 + n%2})
			if err := cluster.Patch(ctx, service, client.MergeFrom(before)); err != nil && ctx.Err() == nil {
				b.Error(err)
				return
			}
		}
	})
	return func() { cancel(); running.Wait() }
}
