package bench

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
)

// rounds is how often each kind of change is measured.
const rounds = 200

// BenchmarkChange measures how long a change takes from the API server's answer
// until Envoy serves it, beside hosts that do not change. Every host has an
// Ingress, a Service and an EndpointSlice of its own.
//
// FAIRWAY_BENCH_HOSTS names other numbers of hosts, separated by commas.
func BenchmarkChange(b *testing.B) {
	for _, hosts := range sizes(100, 1000, 10_000) {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) { change(b, hosts) })
	}
}

// sizes are the numbers of hosts to measure with.
func sizes(usual ...int) []int {
	var sizes []int
	for field := range strings.SplitSeq(os.Getenv("FAIRWAY_BENCH_HOSTS"), ",") {
		if n, err := strconv.Atoi(field); err == nil {
			sizes = append(sizes, n)
		}
	}
	if len(sizes) == 0 {
		return usual
	}
	return sizes
}

func change(b *testing.B, hosts int) {
	startBackends(b)
	var began time.Time
	r := fairway.Start(b, fairway.Options{Before: func(r *fairway.Installation) {
		r.Create(b, fairway.Class(class))
		if err := fill(b.Context(), r.Client, hosts, onFirst); err != nil {
			b.Fatal(err)
		}
		began = time.Now()
	}})
	m := &meter{cluster: r.Client, probe: newProbe(b, time.Minute)}
	if _, err := m.probe.await(b.Context(), host(hosts-1), none, by("first")); err != nil {
		b.Fatal(err)
	}
	cold := time.Since(began)

	sent := sentBytes(b, r)
	for b.Loop() {
		for range rounds {
			if err := m.round(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	changes := float64(4 * rounds * b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(cold.Seconds(), "cold-s")
	b.ReportMetric((sentBytes(b, r)-sent)/changes, "B/change")
	b.ReportMetric(float64(r.Controller.RSS(b))/(1<<20), "controller-MiB")
	b.ReportMetric(float64(r.Envoys[0].RSS(b))/(1<<20), "envoy-MiB")
	for _, kind := range []struct {
		name string
		series
	}{{"add", m.add}, {"change", m.lead}, {"endpoint", m.endpoint}, {"delete", m.remove}} {
		slowest := slices.Index(kind.took, slices.Max(kind.took))
		b.Logf("slowest %s: %s, in round %d of %d; %d showed an error",
			kind.name, kind.took[slowest], slowest, len(kind.took), kind.failed)
		b.ReportMetric(milliseconds(kind.quantile(0.5)), kind.name+"-p50-ms")
		b.ReportMetric(milliseconds(kind.quantile(0.99)), kind.name+"-p99-ms")
	}
}

// sentBytes is what the controller has sent to Envoys.
func sentBytes(b *testing.B, r *fairway.Installation) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	total, err := metricSum(ctx, r.Metrics, "fairway_xds_response_bytes_total")
	if err != nil {
		b.Fatal(err)
	}
	return total
}

// metricSum adds up the series of a counter.
func metricSum(ctx context.Context, metrics netip.AddrPort, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics.String()+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	sum := 0.0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, name+"{") {
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				return 0, err
			}
			sum += value
		}
	}
	return sum, lines.Err()
}
