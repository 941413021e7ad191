package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairwaynet/fairway/cmd/internal/apiservers"
	"github.com/fairwaynet/fairway/cmd/internal/health"
	"github.com/fairwaynet/fairway/cni/install"
	"github.com/fairwaynet/fairway/cni/mesh"
	"github.com/fairwaynet/fairway/cni/ranges"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/cni/sandbox"
	"github.com/fairwaynet/fairway/controllers/node"
	"github.com/fairwaynet/fairway/controllers/node/network"
	"github.com/fairwaynet/fairway/controllers/node/policies"
	noderanges "github.com/fairwaynet/fairway/controllers/node/ranges"
	"github.com/fairwaynet/fairway/controllers/node/services"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/reconnect"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/xds/route"
)

// nodeSettings are the settings of fairway node.
type nodeSettings struct {
	*settings

	Name        string
	Kubeconfig  string
	APIServers  []string
	Pods        []string // prefixes
	Direct      []string // prefixes
	Mode        string
	OverlayPort uint16
	OverlayVNI  uint32
	Software    bool // checksums of the overlay
	Folders     install.Folders
	Plugin      string
	Exclusive   bool
	Runtime     string
	Cleanup     bool
	Stay        bool // once the machine is clean

	PodNetwork  bool     // keeps it
	Services    bool     // keeps them
	Adopt       bool     // takes over from kube-proxy
	NodePorts   []string // prefixes
	ExternalIPs bool
	Health      string // address
	Announce    bool   // load-balancer addresses
	Policies    bool   // enforces them
	LogDenied   bool   // what they deny

	Allocate     bool // ranges of nodes' pods
	Bits4, Bits6 int  // lengths of the ranges' prefixes
	Namespace    string
}

// The overlay's own port and VNI, so that it is in nobody's way: 4789 is VXLAN's, 8472 that
// of Linux and of other networks for pods.
const (
	overlayPort = 8479
	overlayVNI  = 102
	largestVNI  = 1<<24 - 1
)

// The lengths of nodes' ranges that kube-controller-manager has, too.
const (
	nodeBits4 = 24
	nodeBits6 = 64
)

func newNodeSettings() *nodeSettings {
	n := &nodeSettings{
		settings: newSettings(route.DefaultSettings()), Mode: string(mesh.Auto), OverlayPort: overlayPort, OverlayVNI: overlayVNI,
		Folders: install.Folders{
			Programs: "/opt/cni/bin", Networks: "/etc/cni/net.d", State: "/var/lib/fairway/cni", Run: "/run/fairway",
		},
		Plugin: "/usr/local/bin/fairway-cni", Runtime: "unix:///run/containerd/containerd.sock",
		Bits4: nodeBits4, Bits6: nodeBits6, Namespace: podNamespace(), PodNetwork: true, Health: ":10256",
	}
	n.MetricsAddress = ":9469"
	return n
}

func (n *nodeSettings) bind(flags *pflag.FlagSet) {
	n.bindProcess(flags)
	flags.StringVar(&n.Name, "node-name", n.Name, "`name` of this machine's Node; by default $NODE_NAME, or the host name")
	bindKubeconfig(flags, &n.Kubeconfig)
	flags.StringSliceVar(&n.APIServers, "api-server", n.APIServers, "`host:port` of an API server, since no Service works before this process; give it again for more; the one that answers is used")
	flags.StringSliceVar(&n.Pods, "pod-cidr", n.Pods, "`network` of the cluster's pods, such as 10.244.0.0/16; give it again for another family")
	flags.BoolVar(&n.Allocate, "allocate-pod-cidrs", n.Allocate, "give each Node a range of --pod-cidr; without it kube-controller-manager does so (--allocate-node-cidrs); exactly one of both must")
	flags.IntVar(&n.Bits4, "node-cidr-mask-size-ipv4", n.Bits4, "length of the prefix of a Node's IPv4 range, with --allocate-pod-cidrs")
	flags.IntVar(&n.Bits6, "node-cidr-mask-size-ipv6", n.Bits6, "length of the prefix of a Node's IPv6 range, with --allocate-pod-cidrs")
	flags.StringVar(&n.Namespace, "namespace", n.Namespace, "`namespace` of the Leases by which the agents agree who gives ranges and who answers for addresses, with --allocate-pod-cidrs and --announce; by default the pod's")
	flags.StringSliceVar(&n.Direct, "no-masquerade", n.Direct, "`network` outside of the cluster that sees pods' own addresses; give it again for more")
	flags.StringVar(&n.Mode, "mode", n.Mode, "how to reach pods of other nodes: auto (a route where both nodes are on one link, else VXLAN), direct or vxlan")
	flags.Uint16Var(&n.OverlayPort, "overlay-port", n.OverlayPort, "UDP `port` of VXLAN, the same on all nodes")
	flags.Uint32Var(&n.OverlayVNI, "overlay-vni", n.OverlayVNI, "`number` of the VXLAN, the same on all nodes")
	flags.BoolVar(&n.Software, "overlay-software-checksums", n.Software, "compute checksums of the overlay without the network card, if yours sends wrong ones; streams cost several times as much")
	flags.StringVar(&n.Folders.Programs, "cni-bin-dir", n.Folders.Programs, "`folder` in which the container runtime looks for plugins")
	flags.StringVar(&n.Folders.Networks, "cni-conf-dir", n.Folders.Networks, "`folder` in which it looks for networks")
	flags.StringVar(&n.Folders.State, "state-dir", n.Folders.State, "`folder` of the addresses that pods have; it must survive a boot")
	flags.StringVar(&n.Folders.Run, "run-dir", n.Folders.Run, "`folder` of what must not survive a boot")
	flags.StringVar(&n.Plugin, "plugin", n.Plugin, "`program` that is installed as plugin")
	flags.BoolVar(&n.Exclusive, "cni-exclusive", n.Exclusive, "move other networks' configurations aside that come before ours")
	flags.StringVar(&n.Runtime, "runtime-endpoint", n.Runtime, "`address` of the container runtime (CRI)")
	flags.BoolVar(&n.PodNetwork, "pod-network", n.PodNetwork, "give the pods of this machine their network; without it another program does")
	flags.BoolVar(&n.Services, "services", n.Services, "lead packets to Services to their endpoints, in place of kube-proxy")
	flags.BoolVar(&n.Adopt, "adopt", n.Adopt, "with --services, take over from a kube-proxy on this machine, and remove the rules that it leaves; without it, Services wait until it is gone")
	flags.StringSliceVar(&n.NodePorts, "node-port-addresses", n.NodePorts, "`network` of the addresses of this machine at which node ports answer; give it again for more; by default its Node's InternalIPs")
	flags.StringVar(&n.Health, "health-address", n.Health, "`address` at which load balancers ask whether this machine takes connections to Services, with --services; empty: none")
	flags.BoolVar(&n.ExternalIPs, "external-ips", n.ExternalIPs, "serve spec.externalIPs; whoever may write a Service can take any address with it (CVE-2020-8554)")
	flags.BoolVar(&n.Announce, "announce", n.Announce, "take part in answering for the addresses of Services of type LoadBalancer, by ARP and neighbour discovery, with --services")
	flags.BoolVar(&n.Policies, "policies", n.Policies, "enforce NetworkPolicies, with --pod-network")
	flags.BoolVar(&n.LogDenied, "log-denied", n.LogDenied, "log packets that NetworkPolicies deny, a few a second of each pod, with --policies")
	flags.BoolVar(&n.Cleanup, "cleanup", n.Cleanup, "take away everything that was put onto this machine, and end; its pods lose their network")
	flags.BoolVar(&n.Stay, "stay", n.Stay, "with --cleanup, do not end: be ready once the machine is clean, as a DaemonSet needs it")
}

func (n *nodeSettings) load(flags *pflag.FlagSet) error {
	if err := n.settings.load(flags); err != nil {
		return err
	}
	var wrong []error
	if n.Name = cmp.Or(n.Name, os.Getenv("NODE_NAME")); n.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			wrong = append(wrong, n.wrong("node-name", err.Error()))
		}
		n.Name = host
	}
	for i, text := range n.APIServers {
		address, err := apiservers.Parse(text)
		if err != nil {
			wrong = append(wrong, n.wrong("api-server", err.Error()))
		}
		n.APIServers[i] = address
	}
	if len(n.Pods) == 0 && !n.Cleanup {
		wrong = append(wrong, n.wrong("pod-cidr", "say which addresses the cluster's pods have, so that packets between them keep theirs"))
	}
	for name, texts := range map[string][]string{"pod-cidr": n.Pods, "no-masquerade": n.Direct, "node-port-addresses": n.NodePorts} {
		if _, err := networks(texts); err != nil {
			wrong = append(wrong, n.wrong(name, err.Error()))
		}
	}
	for _, check := range []settingCheck{
		choice("mode", mesh.Mode(n.Mode), []mesh.Mode{mesh.Auto, mesh.Direct, mesh.VXLAN}),
		{"overlay-port", n.OverlayPort != 0, "must be a port, from 1 to 65535"},
		{"overlay-vni", n.OverlayVNI > 0 && n.OverlayVNI <= largestVNI, fmt.Sprintf("must be from 1 to %d", largestVNI)},
	} {
		if !check.ok {
			wrong = append(wrong, n.wrong(check.name, check.want))
		}
	}
	if n.Allocate {
		wrong = append(wrong, n.checkAllocation()...)
	}
	if !n.Cleanup {
		wrong = append(wrong, n.checkParts()...)
	}
	if err := errors.Join(wrong...); err != nil {
		return usage(err)
	}
	return nil
}

// checkParts returns what is wrong with what the agent is to do.
func (n *nodeSettings) checkParts() []error {
	var wrong []error
	if n.Stay {
		wrong = append(wrong, n.wrong("stay", "needs --cleanup"))
	}
	if !n.PodNetwork && !n.Services {
		wrong = append(wrong, n.wrong("services", "without --pod-network and --services there is nothing to do"))
	}
	if n.Policies && !n.PodNetwork {
		wrong = append(wrong, n.wrong("policies", "needs --pod-network: a pod must not begin before its policies are there"))
	}
	if n.LogDenied && !n.Policies {
		wrong = append(wrong, n.wrong("log-denied", "needs --policies, which deny"))
	}
	if n.Announce && !n.Services {
		wrong = append(wrong, n.wrong("announce", "needs --services, which leads packets to those addresses to endpoints"))
	}
	return wrong
}

// checkAllocation returns what is wrong with how nodes get their ranges.
func (n *nodeSettings) checkAllocation() []error {
	var wrong []error
	if pools, err := networks(n.Pods); err == nil { // else it is told
		if _, err := ranges.New(pools, n.Bits4, n.Bits6); err != nil {
			wrong = append(wrong, n.wrong("pod-cidr", err.Error()))
		}
	}
	if len(validation.IsDNS1123Label(n.Namespace)) > 0 {
		wrong = append(wrong, n.wrong("namespace", fmt.Sprintf("%q is no name of a namespace", n.Namespace)))
	}
	return wrong
}

// podNamespace is the namespace of this process's pod, or that in which the chart puts the
// agents.
func podNamespace() string {
	const file = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	content, err := os.ReadFile(file)
	if err != nil {
		content = nil
	}
	return cmp.Or(os.Getenv("POD_NAMESPACE"), strings.TrimSpace(string(content)), metav1.NamespaceSystem)
}

// networks reads networks in the notation 10.244.0.0/16.
func networks(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no network such as 10.244.0.0/16", text)
		}
		if prefix != prefix.Masked() {
			return nil, fmt.Errorf("%s has bits behind its length: say %s", text, prefix.Masked())
		}
		all = append(all, prefix)
	}
	return all, nil
}

// nodeCommands are the commands that only make sense on a node.
func nodeCommands(std streams) []*cobra.Command {
	n := newNodeSettings()
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Give the pods of this machine their network",
		Long: `Node runs on each machine of a cluster. It installs the network plugin, keeps the
ways to the pods of other machines, and puts back what somebody else takes away. It
needs no Service and no pod network, so run it on the host's network. When it ends,
everything goes on working; --cleanup takes it away.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := n.load(cmd.Flags()); err != nil {
				return err
			}
			switch {
			case n.Stay:
				return n.cleanAndStay(cmd.Context(), n.logger(std.Err))
			case n.Cleanup:
				return n.clean(cmd.Context())
			}
			return n.run(cmd.Context(), n.logger(std.Err))
		},
	}
	n.bind(cmd.Flags())
	return []*cobra.Command{cmd}
}

// overlay identifies the packets of the overlay, if there is one.
func (n *nodeSettings) overlay() rules.Overlay {
	if mesh.Mode(n.Mode) == mesh.Direct {
		return rules.Overlay{}
	}
	return rules.Overlay{Port: n.OverlayPort, VNI: n.OverlayVNI}
}

// beFrugal collects garbage sooner than Go does by default. The agent has much in memory that
// changes little, on every machine of a cluster, and little to do. $GOGC is heard first.
func beFrugal() {
	const percent = 50
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// run serves until ctx ends.
func (n *nodeSettings) run(ctx context.Context, log logr.Logger) (err error) {
	beFrugal()
	ctrllog.SetLogger(log)
	klog.SetLogger(log)
	config, err := clusterConfig(n.Kubeconfig, nodeQPS, nodeBurst)
	if err != nil {
		return err
	}
	config.UserAgent = "fairway-node"
	apiservers.Use(config, n.APIServers)
	reconnect.RetryWatches(config, log)
	scheme, err := index.Scheme()
	if err != nil {
		return err
	}
	cached, err := services.Cached()
	if err != nil {
		return err
	}
	maps.Copy(cached, policies.Cached())
	mgr, err := manager.New(config, manager.Options{
		Logger:  log,
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"}, // probes serve the metrics
		// The agent starts without an API server, so it cannot ask one for its kinds.
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return nodeMapper(), nil },
		Cache:          cache.Options{DefaultTransform: network.Trim, ByObject: cached, ReaderFailOnMissingInformer: true},
	})
	if err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	events, err := report.StartEvents(ctx, config)
	if err != nil {
		return err
	}
	defer events.Shutdown()
	engine, err := nft.New(ctx, nft.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	connections, err := conntrack.Open(conntrack.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, connections.Close()) }()
	reporter, err := n.assemble(ctx, log, mgr, events, engine, connections)
	if err != nil {
		return err
	}
	if n.Allocate {
		if err := n.allocate(config, log, mgr, reporter); err != nil {
			return err
		}
	}
	log.Info("starting", "node", n.Name, "cluster", config.Host)
	return mgr.Start(ctx)
}

// What one agent may ask of the API server: there are as many as nodes.
const (
	nodeQPS   = 5
	nodeBurst = 20
)

// addParts adds what the agent does beside the pod network.
func (n *nodeSettings) addParts(agent *node.Agent, mgr manager.Manager, registry *prometheus.Registry) error {
	if n.Services {
		if err := n.addServices(agent, mgr.GetAPIReader(), registry); err != nil {
			return err
		}
	}
	if n.Policies {
		if err := n.addPolicies(agent, mgr, registry); err != nil {
			return err
		}
	}
	if n.Announce {
		return n.announce(mgr, agent, registry)
	}
	return nil
}

func (n *nodeSettings) assemble(
	ctx context.Context, log logr.Logger, mgr manager.Manager, events record.EventBroadcaster, engine *nft.Engine, connections *conntrack.Table,
) (*report.Reporter, error) {
	registry := prometheus.NewRegistry()
	metrics, err := node.NewMetrics(registry, engine)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	recorder := events.NewRecorder(mgr.GetScheme(), corev1.EventSource{Component: "fairway-node", Host: n.Name})
	told := node.OwnEvents{Name: n.Name, Events: report.Events{Recorder: recorder, Objects: mgr.GetCache()}}
	reporter := report.New(report.Log{Log: log}, told)
	registry.MustRegister(reporter)
	pods, podsErr := networks(n.Pods)
	direct, directErr := networks(n.Direct)
	if err := errors.Join(podsErr, directErr); err != nil {
		return nil, err
	}
	probes := &health.Probes{Metrics: prometheus.Gatherers{registry, ctrlmetrics.Registry}}
	agent := &node.Agent{
		Name: network.Key(n.Name),
		Config: network.Config{
			Mode: mesh.Mode(n.Mode), Overlay: n.overlay(), SoftwareChecksums: n.Software,
			Pods: pods, Direct: direct, Version: ownVersion(), Allocated: n.Allocate,
		},
		WithoutPods: !n.PodNetwork,
		Cache:       mgr.GetCache(), Client: mgr.GetClient(),
		Folders: n.Folders, Plugin: n.Plugin, Exclusive: n.Exclusive,
		Engine: engine, Connections: connections, Sandboxes: sandbox.Runtime{Endpoint: n.Runtime}.List,
		Reporter: reporter, Told: told, Metrics: metrics, Log: log,
		Complete: func() {
			raiseTracking(log) // not before: the kernel has the settings once the tables are there
			raiseNeighbours(log)
			probes.Ready()
		},
	}
	if err := n.addParts(agent, mgr, registry); err != nil {
		return nil, err
	}
	if err := errors.Join(mgr.Add(agent), mgr.Add(returnsHeap())); err != nil {
		return nil, err
	}
	if n.MetricsAddress == "" {
		return reporter, nil
	}
	listener, err := health.Listen(ctx, n.MetricsAddress)
	if err != nil {
		return nil, err
	}
	return reporter, mgr.Add(leader.Everywhere(func(ctx context.Context) error { return probes.Serve(ctx, listener) }))
}

// leaseName is the name of the Lease of the agents' leader. That of its ledger ends in
// "-ranges".
const leaseName = "fairway-node"

// allocate takes part in giving nodes their ranges.
func (n *nodeSettings) allocate(config *rest.Config, log logr.Logger, mgr manager.Manager, reporter *report.Reporter) error {
	networks, err := networks(n.Pods)
	if err != nil {
		return err
	}
	pools, err := ranges.New(networks, n.Bits4, n.Bits6)
	if err != nil {
		return err
	}
	identity := n.Name + "-" + rand.String(5)
	lease := types.NamespacedName{Namespace: n.Namespace, Name: leaseName}
	api, err := noderanges.NewAPI(config, types.NamespacedName{Namespace: n.Namespace, Name: leaseName + "-ranges"}, identity)
	if err != nil {
		return err
	}
	return mgr.Add(&noderanges.Allocator{
		Node: n.Name, Pools: pools, Objects: mgr.GetCache(), Cluster: api, Reporter: reporter, Log: log,
		Elector: func() (*leader.Elector, error) {
			return leader.New(config, lease, identity, noderanges.Terms(), log)
		},
	})
}

// addServices makes the agent keep Services.
func (n *nodeSettings) addServices(agent *node.Agent, live client.Reader, registry prometheus.Registerer) error {
	nodePorts, err := networks(n.NodePorts)
	if err != nil {
		return err
	}
	connections, err := conntrack.Open(conntrack.Options{})
	if err != nil {
		return err
	}
	metrics, err := node.NewServiceMetrics(registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	agent.Services = &node.Services{
		Config:        services.Config{Pods: agent.Config.Pods, NodePorts: nodePorts, ExternalIPs: n.ExternalIPs, Ranged: n.PodNetwork},
		Connections:   connections, // until the process ends
		HealthAddress: n.Health,
		Adopt:         n.Adopt,
		Live:          live,
		Metrics:       metrics,
	}
	return nil
}
