package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
)

const (
	class = "bench"
	// Two backends that tell from the answer which of them a route leads to.
	first, second = "10.77.0.11", "10.77.0.12"
)

// startBackends starts both.
func startBackends(b *testing.B) {
	b.Helper()
	if requestsFirst() {
		startRawBackend(b, first)
	} else {
		fairway.Backend(b, "first", first)
	}
	fairway.Backend(b, "second", second)
}

// fill creates n hosts, several at a time, each with an Ingress, a Service and
// an EndpointSlice of its own that holds the address of the host's backend.
func fill(ctx context.Context, cluster client.Client, n int, backend func(i int) string) error {
	creating, ctx := errgroup.WithContext(ctx)
	creating.SetLimit(32)
	create := func(objects ...client.Object) {
		for _, object := range objects {
			creating.Go(func() error { return cluster.Create(ctx, object) })
		}
	}
	create(fairway.Service("first"), fairway.Slice("first", first), fairway.Service("second"), fairway.Slice("second", second))
	for i := range n {
		name := fmt.Sprintf("site-%d", i)
		create(fairway.Service(name), fairway.Slice(name, backend(i)), fairway.Ingress(name, class, host(i), "/", name))
	}
	return creating.Wait()
}

// onFirst has all hosts served by the first backend.
func onFirst(int) string { return first }

func host(i int) string { return fmt.Sprintf("site-%d.test", i) }

// series is what one kind of change took.
type series struct {
	took []time.Duration
	// failed are the changes that showed an error to those who asked for the
	// host meanwhile: an answer that was right neither before nor after.
	failed int
}

func (s series) quantile(q float64) time.Duration { return quantile(s.took, q) }

// changes are the kinds of them that are measured.
type changes struct{ add, lead, endpoint, remove series }

// meter measures changes, from the API server's answer until Envoy serves them.
type meter struct {
	cluster client.Client
	probe   *probe
	changes
}

// round adds a host, leads it to another Service, replaces an endpoint of that
// one, and deletes the host.
func (m *meter) round(ctx context.Context) error {
	name := fmt.Sprintf("new-%d", time.Now().UnixNano())
	host := name + ".test"
	service, slice := fairway.Service(name), fairway.Slice(name, second)
	for _, object := range []client.Object{service, slice} {
		if err := m.cluster.Create(ctx, object); err != nil {
			return err
		}
	}
	ingress := fairway.Ingress(name, class, host, "/", "first")
	for _, change := range []struct {
		series       *series
		before, want answer
		make         func() error
	}{
		{&m.add, none, by("first"), func() error { return m.cluster.Create(ctx, ingress) }},
		{&m.lead, by("first"), by("second"), func() error { return lead(ctx, m.cluster, ingress, name) }},
		{&m.endpoint, by("second"), by("first"), func() error { return replace(ctx, m.cluster, slice, first) }},
		{&m.remove, by("first"), none, func() error { return m.cluster.Delete(ctx, ingress) }},
	} {
		if err := change.make(); err != nil {
			return err
		}
		began := time.Now() // the API server has answered
		wrong, err := m.probe.await(ctx, host, change.before, change.want)
		if err != nil {
			return err
		}
		change.series.took = append(change.series.took, time.Since(began))
		if wrong > 0 {
			change.series.failed++
		}
	}
	for _, object := range []client.Object{slice, service} {
		if err := m.cluster.Delete(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// lead changes the Service of an Ingress of one path. It is a patch, so that
// whoever writes the status meanwhile is no conflict.
func lead(ctx context.Context, cluster client.Client, ingress *networkingv1.Ingress, service string) error {
	before := ingress.DeepCopy()
	ingress.Spec.Rules[0].HTTP.Paths[0] = fairway.Path("/", service)
	return cluster.Patch(ctx, ingress, client.MergeFrom(before))
}

// replace changes the one endpoint of a Service.
func replace(ctx context.Context, cluster client.Client, slice *discoveryv1.EndpointSlice, ip string) error {
	before := slice.DeepCopy()
	slice.Endpoints[0].Addresses = []string{ip}
	return cluster.Patch(ctx, slice, client.MergeFrom(before))
}

// quantile is the q-quantile of samples, by the nearest rank; 0 if there are none.
func quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
