package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairwaynet/fairway/cmd/internal/health"
	"github.com/fairwaynet/fairway/cmd/internal/logging"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/console"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/xds/gateway"
	"github.com/fairwaynet/fairway/xds/grpcserver"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// serveWorkers is the number of Envoy's worker threads. Two are enough for a
// folder on a user's machine.
const serveWorkers = 2

// serveSettings are the settings of fairway serve.
type serveSettings struct {
	*settings

	Folder string
	Envoy  string        // path of the program; empty: search for it
	Drain  time.Duration // how long open connections may last at the end
	State  string        // folder of accounts, orders and certificates; empty: no orders

	Challenge challengeSettings // without an address, which the only Envoy learns directly
}

func (s *serveSettings) bind(flags *pflag.FlagSet) {
	s.settings.bind(flags)
	flags.StringVar(&s.Envoy, "envoy", s.Envoy, "Envoy's `program`; by default $FAIRWAY_ENVOY, .tools/bin/envoy, or the one in PATH")
	flags.StringVar(&s.State, "state", s.State, "`folder` for ordered certificates and their keys; empty: order none")
	s.Challenge.bindResolvers(flags)
	flags.DurationVar(&s.Drain, "drain", s.Drain, "how long open connections may last when serving ends")
}

func (s *serveSettings) load(flags *pflag.FlagSet) error {
	if err := s.settings.load(flags); err != nil {
		return err
	}
	if s.Drain < 0 {
		return usage(s.wrong("drain", "cannot be negative"))
	}
	if err := s.Challenge.load(s.wrong); err != nil {
		return usage(err)
	}
	return nil
}

func serveCommand(std streams) *cobra.Command {
	defaults := route.DefaultSettings()
	defaults.Address, defaults.HTTPPort, defaults.HTTPSPort = "127.0.0.1", 8080, 8443
	defaults.LocalBackends = true // backends of a folder run on this machine
	s := &serveSettings{settings: newSettings(defaults), Drain: time.Second}
	cmd := &cobra.Command{
		Use:   "serve FOLDER",
		Short: "Serve the Ingresses of a folder of manifests, without a cluster",
		Long: `Serve reads the Ingresses in a folder, with their Services, EndpointSlices and
Secrets, watches it, and serves what they ask for with an Envoy of its own. An
edit is live within a second; a file that is broken keeps what was last good.

Standard output is the access log. What serve itself has to say (what is live,
and which line of which file is wrong) goes to standard error.`,
		Args: wants("one folder", cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.Folder = args[0]
			if err := s.load(cmd.Flags()); err != nil {
				return err
			}
			return s.run(cmd.Context(), std)
		},
	}
	s.bind(cmd.Flags())
	return cmd
}

// run serves until ctx ends, and cleans up.
func (s *serveSettings) run(ctx context.Context, std streams) (err error) {
	program, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	private, err := os.MkdirTemp("", "fairway-serve-") // for this user only
	if err != nil {
		return fmt.Errorf("make a private folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(private)) }()

	log := s.logger(std.Err)
	quiet := log
	if s.LogFormat == logging.Text && s.Verbosity == 0 {
		quiet = logging.OnlyErrors(log) // the console tells people what matters
	}
	ctrllog.SetLogger(quiet)
	klog.SetLogger(quiet)
	envoy := &gateway.Process{
		Path: program, Dir: private, Workers: serveWorkers, Stdout: std.Out, Drain: s.Drain,
		LogLevel: []string{"warning", "info", "debug"}[min(s.Verbosity, 2)], Log: log,
		Bootstrap: gateway.Bootstrap{
			Gateway: string(route.DefaultGateway), Node: "serve",
			XDS: gateway.XDS{Socket: filepath.Join(private, "xds.sock")}, Admin: filepath.Join(private, "admin.sock"),
		},
		Prover: gateway.NewProver(),
	}
	served, err := s.assemble(ctx, console.New(std.Err, s.LogFormat, log), log, quiet, envoy)
	if err != nil {
		return err
	}
	return served.run(ctx)
}

// prepare finds problems that would stop serve, before anything is started.
func (s *serveSettings) prepare(ctx context.Context) (envoy string, err error) {
	if s.Folder == "" {
		return "", usage(errors.New("the folder has no name: it is an empty text, such as that of a variable which is not set"))
	}
	if info, err := os.Stat(s.Folder); err != nil {
		return "", fmt.Errorf("serve %s: %w", s.Folder, errors.Unwrap(err))
	} else if !info.IsDir() {
		return "", fmt.Errorf("serve %s: it is not a folder", s.Folder)
	}
	if envoy, err = gateway.Find(s.Envoy, os.Getenv); err != nil {
		return "", fmt.Errorf("find Envoy: %w: run 'make tools-envoy', or say with --envoy or $FAIRWAY_ENVOY where it is",
			err)
	}
	return envoy, errors.Join(s.makeState(), s.checkPorts(ctx))
}

// checkPorts binds the ports for a moment. Without this check Envoy would
// silently share them with another Envoy of the same user.
func (s *serveSettings) checkPorts(ctx context.Context) error {
	err := s.checkPort(ctx, s.Route.HTTPPort, "--http-port")
	if s.Route.HTTPSPort == 0 {
		return err
	}
	return errors.Join(err, s.checkPort(ctx, s.Route.HTTPSPort, "--https-port"))
}

func (s *serveSettings) checkPort(ctx context.Context, port uint16, flag string) error {
	address := net.JoinHostPort(s.Route.Address, strconv.Itoa(int(port)))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return listener.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("serve on %s: the port is in use: stop what serves there, or choose another with %s", address, flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("serve on %s: this user may not use that port: choose one from 1024 on with %s", address, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("serve on %s: this machine does not have that address: choose another with --address", address)
	}
	return fmt.Errorf("serve on %s: %w", address, err)
}

// urls are the URLs for a browser on this machine.
func (s *serveSettings) urls() []string {
	host := s.Route.Address
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	urls := []string{"http://" + net.JoinHostPort(host, strconv.Itoa(int(s.Route.HTTPPort)))}
	if s.Route.HTTPSPort != 0 {
		urls = append(urls, "https://"+net.JoinHostPort(host, strconv.Itoa(int(s.Route.HTTPSPort))))
	}
	return urls
}

// serving holds everything that runs while a folder is served.
type serving struct {
	*serveSettings
	files       *folder.Cache
	controllers *edge.Controllers
	server      *server.Server
	xds         net.Listener
	envoy       *gateway.Process
	console     *console.Console
	probes      *health.Probes
	metrics     net.Listener // nil: no metrics
	orders      *ordersOfFolder
}

// assemble wires together what run runs. log is for messages that people see by
// default, quiet for all others.
func (s *serveSettings) assemble(
	ctx context.Context, n *console.Console, log, quiet logr.Logger, envoy *gateway.Process,
) (*serving, error) {
	reporter := report.New(n)
	files, err := folder.New(folder.Options{Paths: s.paths(), Reporter: reporter, Log: log})
	if err != nil {
		return nil, fmt.Errorf("serve %w", err)
	}
	n.Locate = files.Locate
	registry := prometheus.NewRegistry()
	metrics, err := edge.NewMetrics(registry)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	scope := index.Scope{Controller: route.AnyController, ClaimWithoutClasses: true, OneGateway: true}
	delivery := &edge.Delivery{
		Objects:  index.Objects{Cluster: files, Scope: scope},
		Reporter: reporter, Metrics: metrics, Log: log, Served: n.Served,
		DefaultCertificate: types.NamespacedName(s.DefaultCertificate),
	}
	made, err := selfSigned()
	if err != nil {
		return nil, err
	}
	certificates, err := s.certificates(quiet, registry, made)
	if err != nil {
		return nil, err
	}
	ads := server.New(server.Options{Log: quiet, Observer: delivery})
	registry.MustRegister(reporter, ads, envoy.Prover)
	r := &serving{
		serveSettings: s, files: files, server: ads, envoy: envoy, console: n,
		probes: &health.Probes{Metrics: prometheus.Gatherers{registry, ctrlmetrics.Registry}},
		controllers: &edge.Controllers{
			Cache: files, Live: files.Live(), Publisher: n.Publisher(ads), Reporter: reporter,
			Base: s.Route, Adapt: s.adapt,
			Certificates: certificates,
			SystemRoots:  systemRoots(quiet),
			Scope:        scope,
			Delivery:     delivery, Metrics: metrics, Log: quiet,
		},
	}
	if err := errors.Join(r.addOrders(ctx, delivery, registry, quiet), r.controllers.Index(ctx)); err != nil {
		return nil, err
	}
	return r, r.listen(ctx)
}

// adapt takes the listen addresses from the flags. The ports of a gateway in a
// cluster, and the load balancer in front of it, do not apply on this machine.
func (s *serveSettings) adapt(settings route.Settings) route.Settings {
	settings.Address, settings.HTTPPort, settings.HTTPSPort = s.Route.Address, s.Route.HTTPPort, s.Route.HTTPSPort
	settings.Public, settings.ProxyProtocol = s.Route.Public, nil
	return settings
}

// listen binds the addresses of serve's own servers.
func (r *serving) listen(ctx context.Context) error {
	var err error
	if r.xds, err = grpcserver.Listen(ctx, grpcserver.UnixScheme+r.envoy.Bootstrap.XDS.Socket); err != nil {
		return err
	}
	if r.MetricsAddress != "" {
		r.metrics, err = health.Listen(ctx, r.MetricsAddress)
	}
	return err
}

// run runs everything until ctx ends or something fails. Envoy stops first, so
// that it keeps its configuration while it drains.
func (r *serving) run(ctx context.Context) error {
	below, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	all, below := errgroup.WithContext(below)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(below, cancel)() // a failure below ends Envoy

	all.Go(func() error { return r.files.Start(below) })
	all.Go(func() error { return grpcserver.Serve(below, r.xds, insecure.NewCredentials(), 0, r.server) })
	all.Go(func() error {
		if !r.files.WaitForCacheSync(below) {
			return nil
		}
		return r.controllers.Start(below)
	})
	all.Go(func() error {
		if !r.files.WaitForCacheSync(below) {
			return nil
		}
		return r.orders.run(below)
	})
	if r.metrics != nil {
		all.Go(func() error { return r.probes.Serve(below, r.metrics) })
	}
	all.Go(func() error { r.announce(ctx); return nil })
	all.Go(func() error {
		defer stop()
		return r.envoy.Run(ctx)
	})
	return all.Wait()
}

// announce waits until everything found at the start is served, and says so.
func (r *serving) announce(ctx context.Context) {
	if !r.console.Await(ctx, r.server, r.envoy.Ready) {
		return
	}
	r.probes.Ready()
	r.console.Start(r.Folder, r.urls(), len(r.controllers.Reporter.Problems()))
	if beside, err := check.SkippedOf(ctx, r.files, r.controllers.Objects(), []route.Controller{route.AnyController}); err == nil { // otherwise serving has ended
		r.console.Beside(beside)
	}
}
