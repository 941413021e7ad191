package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// deliveryOf is a Delivery over a world, with metrics of its own.
func deliveryOf(t *testing.T, s *stage) (*Delivery, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	metrics, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	return &Delivery{
		Objects: s.controllers.Objects(), Reporter: s.controllers.Reporter, Metrics: metrics, Log: logr.Discard(),
	}, registry
}

// What Envoy refuses becomes a Problem of the Ingresses of that host, beside
// what else is wrong with them, until a newer value is served.
func TestARejectionIsAProblemUntilTheHostIsServed(t *testing.T) {
	w := newWorld()
	w.Apply(ingressOf("shop.test", "cart"), ingressOf("other.test", "cart"))
	w.Sync()
	s := start(t.Context(), t, w)
	d, registry := deliveryOf(t, s)
	var served []route.Key
	d.Served = func(key route.Key) { served = append(served, key) }

	d.HostRejected(keyOf("shop.test"), "bad regex")
	if diff := cmp.Diff([]string{"Ingress shop/shop.test RejectedByEnvoy"}, summaries(s.controllers.Reporter)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if message := s.controllers.Reporter.Problems()[0].Message; !strings.Contains(message, "bad regex") {
		t.Errorf("message %q does not hold what Envoy says", message)
	}
	d.HostServed(keyOf("other.test"))
	if n := len(s.controllers.Reporter.Problems()); n != 1 {
		t.Errorf("%d problems after another host is served, want 1", n)
	}
	d.HostServed(keyOf("shop.test"))
	if n := len(s.controllers.Reporter.Problems()); n != 0 {
		t.Errorf("%d problems after the host is served, want none", n)
	}
	if diff := cmp.Diff([]route.Key{keyOf("other.test"), keyOf("shop.test")}, served); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}

	d.BackendRejected(portOf("cart", 80), "bad address")
	d.SettingsRejected(route.DefaultGateway, "bad listener")
	want := `# HELP fairway_xds_rejections_total Hosts, backends, gateway settings and certificates that an Envoy refused. Each is a bug of Fairway's.
# TYPE fairway_xds_rejections_total counter
fairway_xds_rejections_total{kind="backend"} 1
fairway_xds_rejections_total{kind="certificate"} 0
fairway_xds_rejections_total{kind="host"} 1
fairway_xds_rejections_total{kind="settings"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "fairway_xds_rejections_total"); err != nil {
		t.Error(err)
	}
}

func summaries(r *report.Reporter) []string {
	var lines []string
	for _, p := range r.Problems() {
		lines = append(lines, fmt.Sprintf("%s %s", p.Object, p.Reason))
	}
	return lines
}

// With an Ingress its Problem goes away, even if no Envoy is there to serve the
// removal.
func TestARejectionGoesWithTheHost(t *testing.T) {
	w := newWorld()
	w.Apply(ingressOf("shop.test", "cart"))
	w.Sync()
	s := start(t.Context(), t, w)
	d, _ := deliveryOf(t, s)
	d.HostRejected(keyOf("shop.test"), "bad regex")
	w.Remove(ingressOf("shop.test", "cart"))
	w.Sync()
	hosts := d.timed(s.controllers.parts(s.wall).hosts.Reconciler, s.wall)
	if _, err := hosts.Reconcile(t.Context(), keyOf("shop.test")); err != nil {
		t.Fatal(err)
	}
	if got := summaries(s.controllers.Reporter); len(got) != 0 {
		t.Errorf("problems %v, want none", got)
	}
}

// stateful is a Publisher whose host states a test sets.
type stateful struct {
	*wall

	state server.HostState
}

func (s *stateful) Host(route.Key) server.HostState { return s.state }

func TestAChangeIsTimedUntilItIsServed(t *testing.T) {
	published := server.HostState{Published: true}
	served := server.HostState{Published: true, Served: true}
	gone := server.HostState{}
	unattended := server.HostState{Published: true, NoEnvoys: true}
	key := keyOf("shop.test")
	// reconciled is a run that takes a second. It finds the host in state before
	// and leaves it in state after.
	type reconciled struct{ before, after server.HostState }
	type hears struct{ served bool }
	tests := []struct {
		name    string
		happens []any
		want    []float64 // seconds observed
	}{
		{name: "a new host", happens: []any{reconciled{gone, published}, hears{true}}, want: []float64{2}},
		{name: "a changed host", happens: []any{reconciled{served, published}, hears{true}}, want: []float64{2}},
		{name: "a removed host", happens: []any{reconciled{served, gone}, hears{true}}, want: []float64{2}},
		{name: "nothing changed", happens: []any{reconciled{served, served}, hears{true}}},
		{name: "nobody asks for it", happens: []any{reconciled{gone, gone}, hears{true}}},
		{name: "changed twice before it is served: from the first on", happens: []any{reconciled{served, published}, reconciled{published, published}, hears{true}}, want: []float64{3}},
		{name: "no Envoy is there", happens: []any{reconciled{gone, unattended}, hears{true}}},
		{name: "an Envoy has come since an earlier change", happens: []any{reconciled{gone, unattended}, reconciled{unattended, published}, hears{true}}, want: []float64{2}},
		{name: "told twice", happens: []any{reconciled{gone, published}, hears{true}, hears{true}}, want: []float64{2}},
		{name: "refused, then mended", happens: []any{reconciled{gone, published}, hears{false}, reconciled{published, published}, hears{true}}, want: []float64{2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t.Context(), t, newWorld())
			d, registry := deliveryOf(t, s)
			now := time.Unix(0, 0)
			d.Now = func() time.Time { return now }
			publisher := &stateful{wall: s.wall}
			for _, event := range test.happens {
				switch e := event.(type) {
				case reconciled:
					publisher.state = e.before
					hosts := d.timed(reconcile.TypedFunc[route.Key](func(context.Context, route.Key) (reconcile.Result, error) {
						now = now.Add(time.Second)
						publisher.state = e.after
						return reconcile.Result{}, errors.New("passed on")
					}), publisher)
					if _, err := hosts.Reconcile(t.Context(), key); err == nil {
						t.Error("an error is swallowed")
					}
				case hears:
					now = now.Add(time.Second)
					if e.served {
						d.HostServed(key)
					} else {
						d.HostRejected(key, "no")
					}
				}
			}
			if diff := cmp.Diff(test.want, observed(t, registry)); diff != "" {
				t.Errorf("seconds (-want +got):\n%s", diff)
			}
		})
	}
}

// observed is the one observation of fairway_change_seconds, if there is any.
func observed(t *testing.T, registry *prometheus.Registry) []float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "fairway_change_seconds" {
			continue
		}
		histogram := family.GetMetric()[0].GetHistogram()
		if histogram.GetSampleCount() > 1 {
			t.Errorf("%d observations", histogram.GetSampleCount())
		}
		if histogram.GetSampleCount() > 0 {
			return []float64{histogram.GetSampleSum()}
		}
	}
	return nil
}

func TestWhatIsPublishedIsCounted(t *testing.T) {
	s := start(t.Context(), t, newWorld())
	d, registry := deliveryOf(t, s)
	s.controllers.Metrics = d.Metrics
	p := s.controllers.counted()
	for range 2 { // publishing again does not count twice
		p.PublishHost(keyOf("a.test"), &route.Host{})
		p.PublishHost(keyOf("b.test"), &route.Host{})
		p.PublishHost(keyOf("never.test"), nil)
		p.PublishBackend(portOf("a", 80), &route.Backend{})
	}
	p.PublishHost(keyOf("b.test"), nil)
	want := `# HELP fairway_backends Service ports whose endpoints are published.
# TYPE fairway_backends gauge
fairway_backends 1
# HELP fairway_hosts Virtual hosts that are published.
# TYPE fairway_hosts gauge
fairway_hosts 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "fairway_hosts", "fairway_backends"); err != nil {
		t.Error(err)
	}
}
