package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairwaynet/fairway/cmd/internal/health"
	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/certificates/servercert"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/reconnect"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/replicas/identity"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
	"github.com/fairwaynet/fairway/xds/grpcserver"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// controllerSettings are the settings of fairway controller.
type controllerSettings struct {
	*settings

	XDS        xdsSettings
	Scope      scopeSettings
	Replica    replicaSettings
	Publish    publishSettings
	Challenge  challengeSettings
	Declared   declaredSettings
	Addresses  addressSettings
	Kubeconfig string  // path; empty: $KUBECONFIG, ~/.kube/config, or the pod's service account
	QPS        float32 // requests per second to the API server
	Burst      int
}

func (c *controllerSettings) bind(flags *pflag.FlagSet) {
	c.settings.bind(flags)
	c.XDS.bind(flags)
	c.Scope.bind(flags)
	c.Replica.bind(flags)
	c.Publish.bind(flags)
	c.Challenge.bind(flags)
	c.Declared.bind(flags)
	c.Addresses.bind(flags)
	bindKubeconfig(flags, &c.Kubeconfig)
	flags.Float32Var(&c.QPS, "kube-api-qps", c.QPS, "maximum `requests` per second to the API server")
	flags.IntVar(&c.Burst, "kube-api-burst", c.Burst, "maximum burst of `requests` to the API server")
}

func (c *controllerSettings) load(flags *pflag.FlagSet) error {
	if err := c.settings.load(flags); err != nil {
		return err
	}
	if c.QPS <= 0 || c.Burst <= 0 {
		return usage(errors.New("--kube-api-qps and --kube-api-burst: must be more than 0"))
	}
	if err := errors.Join(c.Scope.load(c.wrong), c.Replica.load(c.wrong), c.Publish.load(c.wrong), c.Challenge.load(c.wrong), c.Declared.load(c.wrong)); err != nil {
		return usage(err)
	}
	return c.XDS.validate()
}

func controllerCommand(std streams) *cobra.Command {
	defaults := newSettings(route.DefaultSettings())
	defaults.MetricsAddress = ":9090"
	defaults.Route.HTTPSPort = 443
	c := &controllerSettings{
		settings:  defaults,
		XDS:       newXDSSettings(),
		Replica:   newReplicaSettings(),
		Challenge: challengeSettings{Address: ":" + acmePort},
		Addresses: addressSettings{Class: loadbalancer.Class{Name: loadbalancer.ClassName, Default: true}, Namespace: metav1.NamespaceSystem},
		QPS:       500,
		Burst:     1000,
	}
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Serve the Ingresses of a cluster to Envoys",
		Long: `Controller watches the Ingresses of a cluster and brings every Envoy that
connects (xDS: delta ADS) to what they ask for. Any number of replicas serve; one
of them writes the addresses into the status of Ingresses that every Envoy serves,
and events on objects that are wrong.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.load(cmd.Flags()); err != nil {
				return err
			}
			return c.run(cmd.Context(), c.logger(std.Err))
		},
	}
	c.bind(cmd.Flags())
	return cmd
}

// run serves until ctx ends.
func (c *controllerSettings) run(ctx context.Context, log logr.Logger) error {
	ctrllog.SetLogger(log)
	klog.SetLogger(log)
	config, err := clusterConfig(c.Kubeconfig, c.QPS, c.Burst)
	if err != nil {
		return err
	}
	config.UserAgent = c.Replica.Installation.Controller()
	reconnect.RetryWatches(config, log)
	scheme, err := index.Scheme()
	if err != nil {
		return err
	}
	trim := assembly.Trim(edge.Reads(c.managers()))
	trimmer, tracker := &servercert.Trimmer{}, &replica.Tracker{}
	mgr, err := manager.New(config, manager.Options{
		Logger:  log,
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"}, // probes serve the metrics
		Cache: cache.Options{
			DefaultTransform:            trim,
			ByObject:                    edge.Cached(trimmer, tracker, trim),
			DefaultNamespaces:           c.Scope.namespaces(),
			ReaderFailOnMissingInformer: true, // reading a kind that is not watched is an error
		},
	})
	if err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	trimmer.Use(index.Objects{Cluster: mgr.GetCache(), Scope: c.Scope.scope()})
	events, err := report.StartEvents(ctx, config)
	if err != nil {
		return err
	}
	defer events.Shutdown()
	if err := c.assemble(ctx, log, mgr, tracker, events); err != nil {
		return err
	}
	log.Info("starting", "cluster", config.Host)
	return mgr.Start(ctx)
}

// assemble adds the controllers and the servers to mgr.
func (c *controllerSettings) assemble(
	ctx context.Context, log logr.Logger, mgr manager.Manager, tracker *replica.Tracker, events record.EventBroadcaster,
) error {
	registry := prometheus.NewRegistry()
	metrics, err := edge.NewMetrics(registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	recorder := events.NewRecorder(mgr.GetScheme(), corev1.EventSource{Component: c.managers().Addresses})
	told := &report.LeaderOnly{To: report.Events{Recorder: recorder, Objects: mgr.GetCache()}}
	declared, err := c.Declared.controller(mgr, c.Replica.Namespace, c.Addresses.Assign)
	if err != nil {
		return err
	}
	reporter := report.New(append(declared.Subscribers(recorder), report.Log{Log: log}, told)...)
	delivery := &edge.Delivery{
		Objects: index.Objects{Cluster: mgr.GetCache(), Scope: c.Scope.scope()}, Reporter: reporter, Metrics: metrics, Log: log,
		DefaultCertificate: types.NamespacedName(c.DefaultCertificate),
	}
	ads := server.New(server.Options{Log: log, Observer: delivery, Authorize: grpcserver.Authorize})
	elector, err := leader.New(mgr.GetConfig(), c.Replica.lease(), c.Replica.Identity, c.Replica.Terms, log)
	if err != nil {
		return err
	}
	elector.Add("events", told.Lead)
	var problems report.Union
	problems.Add(reporter)
	c.Addresses.give(mgr, elector, recorder, &problems, log)
	contact := replica.NewContact(log, ads.SetStale, ads.SetFresh)
	registry.MustRegister(leader.Exporting{Collector: &problems, Elector: elector}, ads, elector, contact)
	serving := &health.Probes{
		Metrics: prometheus.Gatherers{registry, ctrlmetrics.Registry},
		Checks:  []func(context.Context) error{func(context.Context) error { return contact.Err() }},
	}
	certificates, err := c.servedCertificates(ctx, mgr, registry, log)
	if err != nil {
		return err
	}
	controllers := &edge.Controllers{
		Cache:        mgr.GetCache(),
		Live:         mgr.GetAPIReader(),
		Publisher:    ads,
		Reporter:     reporter,
		Scope:        c.Scope.scope(),
		Base:         c.Route,
		Certificates: certificates,
		SystemRoots:  systemRoots(log),
		Delivery:     delivery,
		Tracker:      tracker,
		Metrics:      metrics,
		Conditions:   c.conditions(mgr, elector, log),
		Opened:       func() { serving.Ready() },
		Log:          log,
	}
	if err := errors.Join(controllers.Index(ctx), declared.Join(ctx, mgr, elector, reporter), c.addReplica(ctx, mgr, teller{elector, contact, recorder, declared.Problems}, controllers, ads, registry)); err != nil {
		return err
	}
	return errors.Join(mgr.Add(controllers), mgr.Add(elector), mgr.Add(returnsHeap()),
		c.addXDS(ctx, log, mgr, elector, ads, serving), c.addHealth(ctx, log, mgr, registry, serving))
}

// addHealth adds the server of health and metrics, which also tells of old custom resources.
func (c *controllerSettings) addHealth(
	ctx context.Context, log logr.Logger, mgr manager.Manager, registry *prometheus.Registry, serving *health.Probes,
) error {
	resources, err := c.checkCustomResources(mgr, registry, log)
	if err != nil {
		return err
	}
	serving.Notes = append(serving.Notes, resources.Detail)
	return c.addProbes(ctx, log, mgr, serving)
}

func (c *controllerSettings) addXDS(
	ctx context.Context, log logr.Logger, mgr manager.Manager, elector *leader.Elector, ads *server.Server, serving *health.Probes,
) error {
	var creds credentials.TransportCredentials
	if c.XDS.Identity == identityManaged {
		keys, err := identity.Manage(ctx, identity.Options{
			Manager: mgr, Elector: elector, Scope: c.Scope.scope(),
			Installation: c.Replica.Installation, Namespace: c.Replica.Namespace, Policy: c.XDS.policy(), Log: log,
		})
		if err != nil {
			return err
		}
		creds = grpcserver.MutualTLS(keys.Config)
		serving.Checks = append(serving.Checks, func(context.Context) error { _, err := keys.Config(); return err })
	} else {
		var err error
		if creds, err = c.XDS.credentials(log); err != nil {
			return err
		}
	}
	listener, err := grpcserver.Listen(ctx, c.XDS.Address)
	if err != nil {
		return err
	}
	log.Info("serving Envoys", "address", listener.Addr().String(), "tls", c.XDS.Cert != "" || c.XDS.Identity == identityManaged)
	return mgr.Add(leader.Everywhere(func(ctx context.Context) error { return grpcserver.Serve(ctx, listener, creds, c.XDS.Age, ads) }))
}

func (c *controllerSettings) addProbes(ctx context.Context, log logr.Logger, mgr manager.Manager, serving *health.Probes) error {
	if c.MetricsAddress == "" {
		return nil
	}
	listener, err := health.Listen(ctx, c.MetricsAddress)
	if err != nil {
		return err
	}
	log.Info("serving metrics and health", "address", listener.Addr().String())
	return mgr.Add(leader.Everywhere(func(ctx context.Context) error { return serving.Serve(ctx, listener) }))
}
