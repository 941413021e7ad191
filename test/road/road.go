// Package road runs the whole ingress road on one machine: a real API server,
// the fairway command as it ships, real Envoys, and backends. Component tests
// and benchmarks send requests in at one end and look at what comes out.
//
// Run it in a network namespace (test/netns) that has Network: the API server
// takes no loopback address as an endpoint.
package road

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/xds/route"
)

// Network is where backends have their addresses.
var Network = netip.MustParsePrefix("10.77.0.0/16")

// Options change how a Road starts. The zero value is one controller and one
// Envoy, without access log.
type Options struct {
	Envoys int // how many; 0 is one
	// Flags are added to the controller's.
	Flags []string
	// Before is called when the API server is up and nothing else runs.
	Before func(*Road)
}

// Road is what runs. Envoys and controllers can be killed and started again.
type Road struct {
	Cluster *cluster.Cluster
	Client  client.Client // the administrator's
	Envoys  []*Envoy

	// XDS and Metrics are the controller's addresses.
	XDS, Metrics netip.AddrPort
	Controller   *Program

	dir   string
	flags []string
}

// Start brings a Road up and returns when every Envoy serves. It ends with the
// test.
func Start(t testing.TB, options Options) *Road {
	t.Helper()
	build(t) // not part of what a test may measure
	log.SetLogger(logr.Discard())
	r := &Road{
		Cluster: cluster.Start(t, cluster.Options{}),
		XDS:     freePort(t, "127.0.0.1"),
		Metrics: freePort(t, "127.0.0.1"),
		flags:   options.Flags,
	}
	r.dir = shortDir(t)
	var err error
	if r.Client, err = client.New(r.Cluster.Config, client.Options{Scheme: scheme.Scheme}); err != nil {
		t.Fatalf("make client: %v", err)
	}
	if options.Before != nil {
		options.Before(r)
	}
	r.StartController(t)
	for i := range max(options.Envoys, 1) {
		r.Envoys = append(r.Envoys, r.startEnvoy(t, i))
	}
	for _, e := range r.Envoys {
		e.WaitReady(t)
	}
	return r
}

// StartController starts the controller, as Start does; for after a kill.
func (r *Road) StartController(t testing.TB) {
	t.Helper()
	// Every Envoy listens on the same ports, on an address of its own.
	flags := []string{
		"controller", "--kubeconfig", r.Cluster.Kubeconfig,
		"--xds-address", r.XDS.String(), "--metrics-address", r.Metrics.String(),
		"--address", "0.0.0.0", "--http-port", "8080", "--access-log=false",
	}
	r.Controller = startProgram(t, "controller", build(t), append(flags, r.flags...)...)
}

// shortDir is a private folder whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "road-")
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

// freePort is a port of ip on which nobody listens.
func freePort(t testing.TB, ip string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// Eventually fails the test unless check has no error within a deadline. It is
// for what other processes do; what is awaited stands in the error.
func Eventually(t testing.TB, within time.Duration, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %v", within, err)
		case <-tick.C:
		}
	}
}

// Create creates objects, the first failure ends the test.
func (r *Road) Create(t testing.TB, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := r.Client.Create(t.Context(), o); err != nil {
			t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
}

// gateway is the one that all Envoys here belong to.
const gatewayName = string(route.DefaultGateway)

func (r *Road) path(name string, i int) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s%d", name, i))
}
