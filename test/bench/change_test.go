package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/road"
)

func TestMain(m *testing.M) { netns.Main(m, netip.MustParsePrefix("10.77.0.0/16")) }

const (
	class = "bench"
	// Two backends that tell from the answer which of them a route leads to.
	first, second = "10.77.0.11", "10.77.0.12"
	// rounds is how often each kind of change is measured.
	rounds = 200
)

// BenchmarkChange measures how long a change takes from the API server's answer
// until Envoy serves it, beside hosts that do not change. Every host has an
// Ingress, a Service and an EndpointSlice of its own.
//
// FAIRWAY_BENCH_HOSTS names other numbers of hosts, separated by commas.
func BenchmarkChange(b *testing.B) {
	for _, hosts := range sizes() {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) { change(b, hosts) })
	}
}

func sizes() []int {
	var sizes []int
	for field := range strings.SplitSeq(os.Getenv("FAIRWAY_BENCH_HOSTS"), ",") {
		if n, err := strconv.Atoi(field); err == nil {
			sizes = append(sizes, n)
		}
	}
	if len(sizes) == 0 {
		return []int{100, 1000, 10_000}
	}
	return sizes
}

func change(b *testing.B, hosts int) {
	road.Backend(b, "first", first)
	road.Backend(b, "second", second)
	var began time.Time
	r := road.Start(b, road.Options{Before: func(r *road.Road) {
		fill(b, r, hosts)
		began = time.Now()
	}})
	p := newProbe(b)
	p.await(b, host(hosts-1), "first")
	cold := time.Since(began)

	m := &meter{road: r, probe: p, bytes: sentBytes(b, r)}
	for b.Loop() {
		for i := range rounds {
			m.round(b, i)
		}
	}
	changes := float64(4 * rounds * b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(cold.Seconds(), "cold-s")
	b.ReportMetric((sentBytes(b, r)-m.bytes)/changes, "B/change")
	b.ReportMetric(float64(r.Controller.RSS(b))/(1<<20), "controller-MiB")
	b.ReportMetric(float64(r.Envoys[0].RSS(b))/(1<<20), "envoy-MiB")
	for _, series := range []struct {
		name string
		took []time.Duration
	}{{"add", m.add}, {"change", m.change}, {"endpoint", m.endpoint}, {"delete", m.delete}} {
		slowest := slices.Index(series.took, slices.Max(series.took))
		b.Logf("slowest %s: %s, in round %d of %d", series.name, series.took[slowest], slowest, len(series.took))
		b.ReportMetric(milliseconds(quantile(series.took, 0.5)), series.name+"-p50-ms")
		b.ReportMetric(milliseconds(quantile(series.took, 0.99)), series.name+"-p99-ms")
	}
}

// fill creates n hosts, several at a time.
func fill(b *testing.B, r *road.Road, n int) {
	b.Helper()
	r.Create(b, road.Class(class),
		road.Service("first"), road.Slice("first", first), road.Service("second"), road.Slice("second", second))
	creating, ctx := errgroup.WithContext(b.Context())
	creating.SetLimit(32)
	for i := range n {
		name := fmt.Sprintf("site-%d", i)
		for _, object := range []client.Object{
			road.Service(name), road.Slice(name, first), road.Ingress(name, class, host(i), "/", name),
		} {
			creating.Go(func() error { return r.Client.Create(ctx, object) })
		}
	}
	if err := creating.Wait(); err != nil {
		b.Fatal(err)
	}
}

func host(i int) string { return fmt.Sprintf("site-%d.test", i) }

// meter collects how long changes took.
type meter struct {
	road  *road.Road
	probe *probe
	bytes float64

	add, change, endpoint, delete []time.Duration
}

// round adds a host, leads it to another Service, replaces an endpoint of that
// one, and deletes the host.
func (m *meter) round(b *testing.B, i int) {
	b.Helper()
	ctx := b.Context()
	name := fmt.Sprintf("new-%d-%d", i, time.Now().UnixNano())
	host := name + ".test"
	service, slice := road.Service(name), road.Slice(name, second)
	m.road.Create(b, service, slice)

	ingress := road.Ingress(name, class, host, "/", "first")
	m.add = append(m.add, m.took(b, host, "first", m.road.Client.Create(ctx, ingress)))

	lead(ingress, name)
	m.change = append(m.change, m.took(b, host, "second", m.road.Client.Update(ctx, ingress)))

	slice.Endpoints[0].Addresses = []string{first}
	m.endpoint = append(m.endpoint, m.took(b, host, "first", m.road.Client.Update(ctx, slice)))

	m.delete = append(m.delete, m.took(b, host, "", m.road.Client.Delete(ctx, ingress)))
	for _, object := range []client.Object{slice, service} {
		if err := m.road.Client.Delete(ctx, object); err != nil {
			b.Fatal(err)
		}
	}
}

// took is the time from now, when the API server has answered, until the host
// is answered by backend.
func (m *meter) took(b *testing.B, host, backend string, err error) time.Duration {
	b.Helper()
	began := time.Now()
	if err != nil {
		b.Fatal(err)
	}
	m.probe.await(b, host, backend)
	return time.Since(began)
}

// lead changes the Service of an Ingress of one path.
func lead(ingress *networkingv1.Ingress, service string) {
	ingress.Spec.Rules[0].HTTP.Paths[0] = road.Path("/", service)
}

// sentBytes is what the controller has sent to Envoys.
func sentBytes(b *testing.B, r *road.Road) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	total, err := metricSum(ctx, r.Metrics, "fairway_xds_response_bytes_total")
	if err != nil {
		b.Fatal(err)
	}
	return total
}
