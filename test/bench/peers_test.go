package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/test/fairway"
)

// peer is an ingress controller that is measured. Adding one is adding a file
// with its value, and that value to peers.
type peer struct {
	name string
	// controller is how its IngressClass names it.
	controller string
	// start starts the controller and a new Envoy that listens on port 8080,
	// without access log, both as fresh as after an installation.
	start func(b *testing.B, w *world) *running
}

func peers() []peer { return []peer{fairwayPeer(), contour()} }

// running is a peer that runs; it ends with the benchmark.
type running struct {
	began             time.Time
	controller, proxy func() int // process ids
}

// world is what a peer runs in.
type world struct {
	*cluster.Cluster

	client client.Client
}

// The settings of BenchmarkPeers, from the environment.
type plan struct {
	hosts    []int
	peers    []peer
	phase    time.Duration // how long each phase may go on
	patience time.Duration // how long a change may take, and a start five times that
	settle   time.Duration // from the last deletion until memory is read
}

func planned(b *testing.B) plan {
	b.Helper()
	p := plan{
		hosts:    sizes(100, 1000),
		phase:    setting(b, "PHASE", 15*time.Second),
		patience: setting(b, "PATIENCE", time.Minute),
		settle:   setting(b, "SETTLE", 30*time.Second),
	}
	names := strings.FieldsFunc(os.Getenv("FAIRWAY_BENCH_PEERS"), func(r rune) bool { return r == ',' })
	for _, peer := range peers() {
		if len(names) == 0 || slices.Contains(names, peer.name) {
			p.peers = append(p.peers, peer)
		}
	}
	return p
}

func setting(b *testing.B, name string, usual time.Duration) time.Duration {
	b.Helper()
	text := os.Getenv("FAIRWAY_BENCH_" + name)
	if text == "" {
		return usual
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// BenchmarkPeers measures other ingress controllers beside Fairway, one after
// the other, each with a cluster of its own that holds the same objects, and
// prints a table for each number of hosts.
//
// FAIRWAY_BENCH_HOSTS and FAIRWAY_BENCH_PEERS choose among them, and
// FAIRWAY_BENCH_PHASE, _PATIENCE and _SETTLE say how long it may take. With
// FAIRWAY_BENCH_REQUESTS_FIRST=1 whatever a request goes through has the CPUs
// before all else, as it has where the API server is on another machine.
func BenchmarkPeers(b *testing.B) {
	p := planned(b)
	var results []*result
	for _, hosts := range slices.Concat([]int{0}, p.hosts) {
		for _, peer := range p.peers {
			r := &result{peer: peer.name, hosts: hosts}
			results = append(results, r)
			b.Run(fmt.Sprintf("%s/hosts=%d", peer.name, hosts), func(b *testing.B) {
				for b.Loop() {
					r.measure(b, p, peer)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
	for _, hosts := range p.hosts {
		printTable(os.Stdout, hosts, results)
	}
}

// result is what was measured of a peer with a number of hosts. What could not
// be measured is zero.
type result struct {
	peer  string
	hosts int

	cold       time.Duration
	idle, busy phase
	elsewhere  outcome // of requests to hosts that do not change, while others' Ingresses change
	empty      memory  // without hosts
	full, peak memory  // with all hosts; at most, while they changed
	after      memory  // when everything was deleted
}

// phase is a time in which nothing else changes, or much.
type phase struct {
	changes
	unchanged       outcome       // of requests to hosts that do not change
	controller, cpu time.Duration // of the controller and of Envoy, in a second
	gaveUp          error
}

type memory struct{ controller, proxy int64 }

func (r *result) measure(b *testing.B, p plan, peer peer) {
	startBackends(b)
	w := newWorld(b, peer, r.hosts)
	run := peer.start(b, w)
	probe := newProbe(b, 5*p.patience)
	if err := awaitAll(b.Context(), probe, r.hosts); err != nil {
		b.Fatal(err)
	}
	r.cold = time.Since(run.began)
	if requestsFirst() {
		prefer(b, run.proxy())
	}
	if r.hosts == 0 {
		<-time.After(5 * time.Second) // for what a start leaves behind
		r.empty = run.memory(b)
		return
	}
	probe.patience = p.patience
	r.idle = run.phase(b, p, w, probe, r.hosts)
	r.full = run.memory(b)

	w.whileChurning(b, nobodys, func() { r.elsewhere = unchangedHosts(b, p, r.hosts) })
	w.whileChurning(b, class, func() { r.busy = run.phase(b, p, w, probe, r.hosts) })
	r.peak = run.peak(b)

	if err := w.deleteAll(b.Context()); err != nil {
		b.Fatal(err)
	}
	<-time.After(p.settle)
	r.after = run.memory(b)
}

// newWorld starts a cluster with hosts in it.
func newWorld(b *testing.B, peer peer, hosts int) *world {
	b.Helper()
	w := &world{Cluster: cluster.Start(b, cluster.Options{APIServerFlags: []string{"--delete-collection-workers=8"}})}
	var err error
	if w.client, err = client.New(w.Config, client.Options{Scheme: scheme.Scheme}); err != nil {
		b.Fatal(err)
	}
	ingressClass := &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: class},
		Spec:       networkingv1.IngressClassSpec{Controller: peer.controller},
	}
	if err := w.client.Create(b.Context(), ingressClass); err != nil {
		b.Fatal(err)
	}
	if err := fill(b.Context(), w.client, hosts, onFirst); err != nil {
		b.Fatal(err)
	}
	return w
}

// deleteAll deletes what fill and the changes made.
func (w *world) deleteAll(ctx context.Context) error {
	for _, kind := range []client.Object{
		&networkingv1.Ingress{}, &corev1.Service{}, &discoveryv1.EndpointSlice{},
	} {
		if err := w.client.DeleteAllOf(ctx, kind, client.InNamespace(fairway.Namespace)); err != nil {
			return err
		}
	}
	return nil
}

// awaitAll returns when all hosts are served, of which it asks a hundred.
func awaitAll(ctx context.Context, p *probe, hosts int) error {
	if hosts == 0 {
		return nil
	}
	const asked = 100
	for i := hosts - 1; i >= 0; i -= max(hosts/asked, 1) {
		if _, err := p.await(ctx, host(i), none, by("first")); err != nil {
			return err
		}
	}
	return nil
}

// phase measures requests to hosts that do not change, then changes.
func (r *running) phase(b *testing.B, p plan, w *world, probe *probe, hosts int) phase {
	b.Helper()
	var f phase
	seconds := p.phase.Seconds()
	controller, proxy := cpuOf(b, r.controller()), cpuOf(b, r.proxy())
	f.unchanged = unchangedHosts(b, p, hosts)
	f.controller = time.Duration(float64(cpuOf(b, r.controller())-controller) / seconds)
	f.cpu = time.Duration(float64(cpuOf(b, r.proxy())-proxy) / seconds)

	const least, most = 3, 200
	m := &meter{cluster: w.client, probe: probe}
	end := time.Now().Add(p.phase)
	for i := 0; i < least || i < most && time.Now().Before(end); i++ {
		if f.gaveUp = m.round(b.Context()); f.gaveUp != nil {
			b.Logf("gave up: %v", f.gaveUp)
			break
		}
	}
	f.changes = m.changes
	return f
}

// unchangedHosts sends requests to hosts that do not change.
func unchangedHosts(b *testing.B, p plan, hosts int) outcome {
	b.Helper()
	return load{
		Address: gatewayAddress, Hosts: min(hosts, 100), Connections: 16, Rate: 300, Duration: p.phase,
	}.start(b).wait(b)
}

func (r *running) memory(b *testing.B) memory {
	b.Helper()
	return memory{usageOf(b, r.controller()).rss, usageOf(b, r.proxy()).rss}
}

func (r *running) peak(b *testing.B) memory {
	b.Helper()
	return memory{usageOf(b, r.controller()).peak, usageOf(b, r.proxy()).peak}
}

// nobodys is the class of Ingresses that no controller serves: what they cost
// is the API server's work, which takes its part of the same machine.
const nobodys = "nobodys"

// whileChurning has 20 changes a second made while do runs.
func (w *world) whileChurning(b *testing.B, class string, do func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var churning errgroup.Group
	churning.Go(func() error { return churn(ctx, w.client, class) })
	do()
	cancel()
	if err := churning.Wait(); err != nil && ctx.Err() == nil {
		b.Fatal(err)
	}
}

// churn makes 20 changes a second of hosts of its own, of all kinds, until ctx
// ends.
func churn(ctx context.Context, cluster client.Client, class string) error {
	const pool = 20
	tick := time.NewTicker(time.Second / 20)
	defer tick.Stop()
	var ingresses [pool]*networkingv1.Ingress
	var slices [pool]*discoveryv1.EndpointSlice
	for i := range pool {
		name := fmt.Sprintf("churn-%s-%d", class, i)
		ingresses[i], slices[i] = fairway.Ingress(name, class, name+".test", "/", "first"), fairway.Slice(name, first)
		for _, object := range []client.Object{fairway.Service(name), slices[i], ingresses[i]} {
			if err := cluster.Create(ctx, object); err != nil {
				return err
			}
		}
	}
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := churnOnce(ctx, cluster, class, n/pool, ingresses[n%pool], slices[n%pool]); err != nil {
			return err
		}
	}
}

// churnOnce makes the n-th change of a host.
func churnOnce(
	ctx context.Context, cluster client.Client, class string, n int, ingress *networkingv1.Ingress, slice *discoveryv1.EndpointSlice,
) error {
	switch n % 4 {
	case 0:
		return lead(ctx, cluster, ingress, slice.Name)
	case 1:
		return replace(ctx, cluster, slice, []string{second, first}[n/4%2])
	case 2:
		return cluster.Delete(ctx, ingress)
	default:
		*ingress = *fairway.Ingress(ingress.Name, class, ingress.Name+".test", "/", "first")
		return cluster.Create(ctx, ingress)
	}
}
