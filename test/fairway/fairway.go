// Package fairway runs the whole ingress path on one machine: a real API server, the
// released fairway command, real Envoys, and backends. Component tests and
// benchmarks send requests to Envoy and check the answers.
//
// Run it in a network namespace (test/netns) that has Network, because the API
// server accepts no loopback address as an endpoint.
package fairway

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/gateway"
	"github.com/fairwaynet/fairway/xds/route"
)

// Network holds the addresses of backends.
var Network = netip.MustParsePrefix("10.77.0.0/16")

// Options change how an Installation starts. The zero value is one controller and one
// Envoy, without access log.
type Options struct {
	// Cluster is the controller's cluster; nil means a new one.
	Cluster *cluster.Cluster
	Envoys  int // number of Envoys; 0 means one, a negative number none
	// Replicas is the number of controllers; 0 means one. Envoys may connect to
	// any.
	Replicas int
	// Pinned makes each Envoy connect to one controller only, the next Envoy to
	// the next one, even if that controller is gone.
	Pinned bool
	// Name is the installation's name, empty for the default one, and Home the
	// namespace of its controllers, empty for fairway-system. They are for several
	// Installations in one Cluster. Each must listen on ports of its own (Flags).
	Name installation.Name
	Home string
	// Flags are added to the controller's.
	Flags []string
	// TLS are the files with which Envoys connect; nil means no TLS.
	TLS *gateway.TLS
	// Rate is how many requests a second a Load sends; 0 is some hundred.
	Rate float64
	// Record keeps what the xDS streams carry, and the access log's lines of
	// requests that were not answered 200, in the Timeline.
	Record bool
	// Namespaces, if there are any, are the only ones in which the controller has
	// rights. Start creates them.
	Namespaces []string
	// APIServer, if not nil, changes the configuration with which the controller
	// reaches the API server. It is for proxies between the two.
	APIServer func(*rest.Config) *rest.Config
	// Before, if not nil, is called when the API server is up and nothing else
	// runs.
	Before func(*Installation)
}

// Installation is a running ingress path. Envoys and controllers can be killed and
// restarted.
type Installation struct {
	Cluster *cluster.Cluster
	Client  client.Client // the administrator's
	Envoys  []*Envoy

	// XDS and Metrics are the addresses of the first replica of the controller.
	XDS, Metrics netip.AddrPort
	Controller   *Program
	// Replicas are all replicas, including the first.
	Replicas []*Replica
	// Timeline is what happened; see Options.Record.
	Timeline Timeline

	name       installation.Name
	home       string
	owner      testing.TB // the test with which everything ends
	dir        string
	kubeconfig string // of the controller
	flags      []string
	tls        *gateway.TLS
	recorded   bool
	pinned     bool
	rate       float64       // of a Load; see Options.Rate
	envoysXDS  []string      // where Envoys ask: the controllers, or a recorder before the first
	taken      atomic.Uint32 // addresses of Network

	mu     sync.Mutex
	served map[string]int // how often the controller said that a host is served, by host
}

// Start starts an Installation and returns when every Envoy serves. It ends with the
// test.
func Start(t testing.TB, options Options) *Installation {
	t.Helper()
	build(t) // must not count in a test's measurements
	log.SetLogger(logr.Discard())
	r := &Installation{
		owner:    t,
		name:     options.Name,
		home:     cmp.Or(options.Home, defaultHome),
		Cluster:  options.Cluster,
		XDS:      FreePort(t),
		Metrics:  FreePort(t),
		flags:    options.Flags,
		tls:      options.TLS,
		recorded: options.Record,
		pinned:   options.Pinned,
		rate:     options.Rate,
	}
	r.dir = shortDir(t)
	r.prepareCluster(t, options)
	if options.Before != nil {
		options.Before(r)
	}
	r.addReplica(t)
	r.StartController(t)
	for len(r.Replicas) < options.Replicas {
		r.StartReplica(t)
	}
	for _, replica := range r.Replicas {
		r.envoysXDS = append(r.envoysXDS, replica.XDS.String())
	}
	if r.recorded {
		r.envoysXDS[0] = r.record(t)
	}
	if options.Envoys == 0 {
		options.Envoys = 1
	}
	for i := range options.Envoys {
		r.Envoys = append(r.Envoys, r.startEnvoy(t, i, gatewayName))
	}
	for _, e := range r.Envoys {
		e.WaitReady(t)
	}
	return r
}

// prepareCluster starts the cluster if there is none, and gives the controller its
// account there.
func (r *Installation) prepareCluster(t testing.TB, options Options) {
	t.Helper()
	if r.Cluster == nil {
		r.Cluster = cluster.Start(t, cluster.Options{})
	}
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	if r.Client, err = client.New(r.Cluster.Config, client.Options{Scheme: scheme}); err != nil {
		t.Fatalf("make client: %v", err)
	}
	for _, name := range append([]string{r.home}, options.Namespaces...) {
		r.ensure(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	user := r.permit(t, options.Namespaces, slices.Contains(options.Flags, "--watch-namespace-selector"))
	if options.APIServer != nil {
		user = options.APIServer(user)
	}
	if r.kubeconfig, err = r.Cluster.WriteKubeconfig(user); err != nil {
		t.Fatal(err)
	}
}

// StartController starts the controller again after a kill, as Start does. It has
// only the rights in config/rbac. It runs as long as the Installation, even if a subtest
// starts it. The flags are added to those of Start.
func (r *Installation) StartController(t testing.TB, flags ...string) {
	t.Helper()
	r.RestartReplica(t, 0, flags...)
}

// controllerFlags are the flags of every controller of the Installation.
func (r *Installation) controllerFlags(xds, metrics, acme netip.AddrPort) []string {
	return append([]string{
		"controller", "--kubeconfig", r.kubeconfig, "--installation", r.name.String(), "--namespace", r.home,
		"--xds-address", xds.String(), "--metrics-address", metrics.String(), "--acme-address", acme.String(),
		"--address", "0.0.0.0", "--http-port", "8080", "--https-port", "8443", fmt.Sprintf("--access-log=%t", r.recorded),
	}, r.flags...)
}

// hear notes when the controller says that a host is served.
func (r *Installation) hear(line string) {
	found := servedLine.FindStringSubmatch(line)
	if found == nil {
		return
	}
	r.Timeline.Note("the controller says that host %s is served", found[1])
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.served == nil {
		r.served = map[string]int{}
	}
	r.served[found[1]]++
}

var servedLine = regexp.MustCompile(`msg="host is served".* host="?([^ "]+)`)

// Served is a check for Eventually: since Served was called, the controller
// (which needs the flag -v) has said that every Envoy serves the host as
// configured. It also says so when a host is removed.
func (r *Installation) Served(host string) func(context.Context) error {
	times := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.served[host]
	}
	before := times()
	return func(context.Context) error {
		if times() == before {
			return fmt.Errorf("the controller does not say that host %s is served", host)
		}
		return nil
	}
}

// Ready is a check for Eventually: the controller has published its first
// configuration.
func (r *Installation) Ready(ctx context.Context) error {
	_, err := r.controllerSays(ctx, "/readyz")
	return err
}

// Metric is a check for Eventually: the controller's metrics contain the line.
func (r *Installation) Metric(line string) func(context.Context) error {
	name := line[:strings.IndexAny(line, "{ ")]
	return func(ctx context.Context) error {
		lines, err := r.samples(ctx, name)
		if err == nil && !slices.Contains(lines, line) {
			err = fmt.Errorf("the metrics do not say %q; they say %q", line, lines)
		}
		return err
	}
}

// NoMetric is a check for Eventually: the controller's metrics have no sample
// of that name.
func (r *Installation) NoMetric(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		lines, err := r.samples(ctx, name)
		if err == nil && len(lines) > 0 {
			err = fmt.Errorf("the metrics say %q", lines)
		}
		return err
	}
}

// samples are the lines of a metric.
func (r *Installation) samples(ctx context.Context, name string) ([]string, error) {
	text, err := r.controllerSays(ctx, "/metrics")
	var lines []string
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.IndexAny(rest, "{ ") == 0 {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines, err
}

func (r *Installation) controllerSays(ctx context.Context, path string) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	a, err := get(ctx, transport, r.Metrics.String(), path)
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %s", path, a.Status, a.Body)
	}
	return a.Body, err
}

// Address is an unused address of Network.
func (r *Installation) Address() string {
	n := r.taken.Add(1)
	base := Network.Addr().As4()
	return netip.AddrFrom4([4]byte{base[0], base[1], byte(128 + n>>8), byte(n)}).String()
}

// shortDir is a private folder whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fairway-") //nolint:usetesting // t.TempDir has the test's name in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// FreePort is a port of 127.0.0.1 without a listener.
func FreePort(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), freeport.Get(t))
}

// Eventually fails the test unless check returns no error within a deadline. It
// is for effects of other processes; the error says what is missing.
func Eventually(t testing.TB, within time.Duration, check func(context.Context) error) {
	t.Helper()
	if err := Await(t.Context(), within, check); err != nil {
		t.Fatal(err)
	}
}

// Await is Eventually for goroutines, which must not end the test.
func Await(ctx context.Context, within time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	began := time.Now()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // otherwise it says only that time is up
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", within, last)
		case <-time.After(pause(time.Since(began))):
		}
	}
}

// pause is the time between two checks. It grows with the time waited so far,
// because a check costs CPU time that the programs under test need.
func pause(waited time.Duration) time.Duration {
	return min(max(waited/20, 2*time.Millisecond), 100*time.Millisecond)
}

// Everywhere is a check for Eventually: every Envoy passes check. The kernel spreads
// connections over the Envoys: sixteen connections miss one of two Envoys once in
// 30,000 runs.
func Everywhere(check func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for range 16 {
			if err := check(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// Throughout calls check again and again for a while, and fails the test at its
// first error. A test shows by it that traffic goes on, or that something does not
// happen. The while is as short as the proof allows.
func Throughout(t testing.TB, while time.Duration, check func(context.Context) error) {
	t.Helper()
	over := time.NewTimer(while)
	defer over.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := check(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-over.C:
			return
		case <-t.Context().Done():
			t.Fatal("the test has ended")
		case <-tick.C:
		}
	}
}

// Create creates objects. The first failure ends the test.
func (r *Installation) Create(t testing.TB, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := r.Client.Create(t.Context(), o); err != nil {
			t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
}

// ensure creates an object, unless an Installation of the same Cluster has done so.
func (r *Installation) ensure(t testing.TB, object client.Object) {
	t.Helper()
	if err := r.Client.Create(t.Context(), object); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("create %T %s: %v", object, object.GetName(), err)
	}
}

// gatewayName is the gateway of the Envoys that Start starts.
const gatewayName = string(route.DefaultGateway)

func (r *Installation) path(name string, i int) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s%d", name, i))
}
