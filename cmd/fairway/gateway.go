package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/fairwaynet/fairway/cmd/internal/flagvalue"
	"github.com/fairwaynet/fairway/cmd/internal/health"
	"github.com/fairwaynet/fairway/xds/gateway"
	"github.com/fairwaynet/fairway/xds/grpcserver"
	"github.com/fairwaynet/fairway/xds/route"
)

// gatewaySettings are the settings of fairway gateway. The controllers decide
// what Envoy serves.
type gatewaySettings struct {
	*settings

	Gateway        string
	Node           string
	XDS            []string // each host:port or unix:path
	ACME           []string // each host:port; nil: the hosts of XDS at the default port
	ServerName     string   // in the controllers' certificate
	TLSDir         string   // folder of ca.crt, tls.crt and tls.key; empty: plain text
	Envoy          string   // path of the program; empty: search for it
	Concurrency    int      // worker threads; 0: one per CPU
	MaxConnections int64
	MaxHeap        flagvalue.Bytes
	DrainDelay     time.Duration
	DrainTimeout   time.Duration
}

func (g *gatewaySettings) bind(flags *pflag.FlagSet) {
	g.bindProcess(flags)
	flags.StringVar(&g.Gateway, "gateway", g.Gateway, "`name` of the gateway whose configuration is served")
	flags.StringVar(&g.Node, "node", g.Node, "`name` of this Envoy, unique in its gateway; by default $POD_NAME, or the host name")
	flags.StringSliceVar(&g.XDS, "xds", g.XDS, "`host:port` of a controller, or unix:path; give it again for more; a name may have several addresses")
	flags.StringSliceVar(&g.ACME, "acme", g.ACME, "`host:port` of a controller's --acme-address, which answers TLS-ALPN-01 challenges; by default the hosts of --xds at port "+acmePort+"; empty: off")
	flags.StringVar(&g.ServerName, "xds-server-name", g.ServerName, "DNS `name` that the controllers' certificate must carry")
	flags.StringVar(&g.TLSDir, "tls-dir", g.TLSDir, "`folder` of ca.crt, tls.crt and tls.key; the gateway waits for these files and reads them again when they are renewed")
	flags.StringVar(&g.Envoy, "envoy", g.Envoy, "Envoy's `program`; by default $FAIRWAY_ENVOY, .tools/bin/envoy, or the one in PATH")
	flags.IntVar(&g.Concurrency, "concurrency", g.Concurrency, "Envoy's worker `threads`; 0: one for each CPU")
	flags.Int64Var(&g.MaxConnections, "max-connections", g.MaxConnections, "maximum `connections` of clients at once; the limit of open files may lower it")
	flags.Var(&g.MaxHeap, "max-heap", "maximum `size` of Envoy's heap; near it, Envoy sheds load; by default 70 % of the container's memory; 0: no limit")
	flags.DurationVar(&g.DrainDelay, "drain-delay", g.DrainDelay, "how long to keep serving after SIGTERM, no longer ready, so that load balancers notice")
	flags.DurationVar(&g.DrainTimeout, "drain-timeout", g.DrainTimeout, "how long open connections may then take to end")
}

func (g *gatewaySettings) load(flags *pflag.FlagSet) error {
	if err := g.settings.load(flags); err != nil {
		return err
	}
	for _, check := range []struct {
		name string
		ok   bool
		want string
	}{
		{"gateway", route.IsGateway(g.Gateway), "is neither NAME nor NAMESPACE/NAME"},
		{"xds", len(g.XDS) > 0, "say where a controller is"},
		{"concurrency", g.Concurrency >= 0, "cannot be negative"},
		{"max-connections", g.MaxConnections > 0, "must be more than 0"},
		{"max-heap", g.MaxHeap == 0 || g.MaxHeap >= gateway.LeastHeap, "must be at least 32Mi, which an Envoy that serves nothing needs, or 0 for no bound"},
		{"drain-delay", g.DrainDelay >= 0, "cannot be negative"},
		{"drain-timeout", g.DrainTimeout >= 0, "cannot be negative"},
	} {
		if !check.ok {
			return usage(g.wrong(check.name, check.want))
		}
	}
	for _, address := range g.ACME {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return usage(g.wrong("acme", fmt.Sprintf("%q is no host:port", address)))
		}
	}
	_, err := g.servers("")
	return err
}

// servers returns the controllers. Envoy accepts configuration over a network
// only from a server with a controller's certificate.
func (g *gatewaySettings) servers(dir string) (gateway.XDS, error) {
	if path, ok := strings.CutPrefix(g.XDS[0], grpcserver.UnixScheme); ok && len(g.XDS) == 1 && path != "" {
		return gateway.XDS{Socket: path}, nil
	}
	for _, address := range g.XDS {
		local, err := grpcserver.IsLocal(address)
		switch {
		case err != nil:
			return gateway.XDS{}, usage(g.wrong("xds", err.Error()))
		case strings.HasPrefix(address, grpcserver.UnixScheme):
			return gateway.XDS{}, usage(g.wrong("xds", "a unix socket is the only controller, or none"))
		case !local && g.TLSDir == "":
			return gateway.XDS{}, usage(g.wrong("xds", address+" is on another machine: give --tls-dir"))
		}
	}
	xds := gateway.XDS{Addresses: g.XDS}
	if g.TLSDir != "" {
		xds.TLS = &gateway.TLS{
			CA:          filepath.Join(dir, "ca.crt"),
			Certificate: filepath.Join(dir, "tls.crt"),
			Key:         filepath.Join(dir, "tls.key"),
			ServerName:  g.ServerName,
		}
	}
	return xds, nil
}

func gatewayCommand(std streams) *cobra.Command {
	defaults := newSettings(route.DefaultSettings())
	defaults.MetricsAddress = ":9091"
	g := &gatewaySettings{
		settings:       defaults,
		Gateway:        string(route.DefaultGateway),
		ServerName:     "fairway-controller",
		MaxConnections: gateway.DefaultMaxConnections,
		MaxHeap:        flagvalue.Bytes(gateway.DefaultHeap(os.DirFS("/"))),
		DrainDelay:     5 * time.Second,
		DrainTimeout:   time.Minute,
	}
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Run an Envoy that serves what the controllers say",
		Long: `Gateway runs an Envoy that takes its configuration from the controllers, and
restarts it if it crashes. It is ready when Envoy has accepted the first full
configuration and listens. On SIGTERM it drains Envoy before it ends.

Standard output is the access log.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.load(cmd.Flags()); err != nil {
				return err
			}
			return g.run(cmd.Context(), std.Out, g.logger(std.Err))
		},
	}
	g.bind(cmd.Flags())
	return cmd
}

// run serves until ctx ends and Envoy is drained.
func (g *gatewaySettings) run(ctx context.Context, accessLog io.Writer, log logr.Logger) (err error) {
	program, err := gateway.Find(g.Envoy, os.Getenv)
	if err != nil {
		return fmt.Errorf("find Envoy: %w: say with --envoy or $FAIRWAY_ENVOY where it is", err)
	}
	private, err := os.MkdirTemp("", "fairway-gateway-") // for this user only
	if err != nil {
		return fmt.Errorf("make a private folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(private)) }()
	envoy, err := g.process(program, private)
	if err != nil {
		return err
	}
	envoy.Stdout, envoy.Log = accessLog, log
	var probing net.Listener
	if g.MetricsAddress != "" {
		if probing, err = health.Listen(ctx, g.MetricsAddress); err != nil {
			return err
		}
		log.Info("serving metrics and health", "address", probing.Addr().String())
	}
	return g.serve(ctx, envoy, probing)
}

// process returns the Envoy to run.
func (g *gatewaySettings) process(program, private string) (*gateway.Process, error) {
	host, err := os.Hostname()
	node := cmp.Or(g.Node, os.Getenv("POD_NAME"), host)
	if node == "" {
		return nil, fmt.Errorf("name this Envoy: %w: give --node", err)
	}
	files, err := filepath.Abs(g.TLSDir)
	if err != nil {
		return nil, fmt.Errorf("find --tls-dir: %w", err)
	}
	xds, err := g.servers(files)
	if err != nil {
		return nil, err
	}
	acme := g.ACME
	if acme == nil {
		acme = respondersOf(xds.Addresses)
	}
	return &gateway.Process{
		Path: program, Dir: private,
		Bootstrap: gateway.Bootstrap{
			Gateway: g.Gateway, Node: node, XDS: xds, ACME: acme,
			Admin:          filepath.Join(private, "admin.sock"),
			MaxConnections: g.MaxConnections,
			MaxHeapBytes:   uint64(g.MaxHeap),
		},
		Workers:    g.Concurrency,
		LogLevel:   []string{"warning", "info", "debug"}[min(g.Verbosity, 2)],
		DrainDelay: g.DrainDelay,
		Drain:      g.DrainTimeout,
		Prover:     gateway.NewProver(),
	}, nil
}

// serve runs Envoy until ctx ends. The probes answer until Envoy has ended.
func (g *gatewaySettings) serve(ctx context.Context, envoy *gateway.Process, probing net.Listener) error {
	below, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	all, below := errgroup.WithContext(below)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(below, cancel)() // a failure below ends Envoy

	if probing != nil {
		registry := prometheus.NewRegistry()
		metrics := gateway.NewMetrics(envoy, time.Now)
		registry.MustRegister(metrics, envoy.Prover, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		answers := &health.Probes{Checks: []func(context.Context) error{envoy.Ready}, Metrics: registry}
		answers.Ready() // envoy.Ready decides
		all.Go(func() error { metrics.Run(below); return nil })
		all.Go(func() error { return answers.Serve(below, probing) })
	}
	all.Go(func() error {
		defer stop()
		if !envoy.Bootstrap.XDS.TLS.Wait(ctx, envoy.Log) {
			return nil
		}
		return envoy.Run(ctx)
	})
	return all.Wait()
}
