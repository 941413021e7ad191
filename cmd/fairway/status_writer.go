package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/controllers"
	"github.com/fairwaynet/fairway/controllers/challenge"
	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/controllers/leader"
	"github.com/fairwaynet/fairway/controllers/replica"
	"github.com/fairwaynet/fairway/controllers/status"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// statusSettings say which addresses Ingresses are given.
type statusSettings struct {
	Addresses []string
	Service   string // namespace/name; or none

	service types.NamespacedName
}

func (s *statusSettings) bind(flags *pflag.FlagSet) {
	flags.StringSliceVar(&s.Addresses, "publish-address", s.Addresses, "`address` (IP or host name) that Ingresses are given in their status; may be repeated")
	flags.StringVar(&s.Service, "publish-service", s.Service, "`namespace/name` of the Service whose addresses Ingresses are given in their status")
}

func (s *statusSettings) load(where func(name, problem string) error) error {
	var wrong []error
	for _, address := range s.Addresses {
		if status.Address(address).IP == "" && len(validation.IsDNS1123Subdomain(address)) > 0 {
			wrong = append(wrong, where("publish-address", fmt.Sprintf("%q is neither an IP address nor a host name", address)))
		}
	}
	if s.Service != "" {
		namespace, name, ok := strings.Cut(s.Service, "/")
		if !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1035Label(name)) > 0 {
			wrong = append(wrong, where("publish-service", fmt.Sprintf("%q is no namespace/name", s.Service)))
		}
		s.service = types.NamespacedName{Namespace: namespace, Name: name}
	}
	if s.Service != "" && len(s.Addresses) > 0 {
		wrong = append(wrong, where("publish-service", "cannot be used together with publish-address: give one of them"))
	}
	return errors.Join(wrong...)
}

// replicas is what tells this replica of the others, and writes for all.
type replicas struct {
	settings *controllerSettings
	log      logr.Logger
	manager  manager.Manager
	elector  *leader.Elector
	clients  kubernetes.Interface

	tracker    *replica.Tracker
	lease      *replica.Lease
	view       *replica.View
	addresses  *status.Addresses
	controller *status.Controller
	challenges *challenge.Set
}

// addReplica has this replica tell the others what its Envoys serve, and as the
// leader write addresses into the Ingresses that all serve.
func (c *controllerSettings) addReplica(
	ctx context.Context, mgr manager.Manager, elector *leader.Elector,
	road *controllers.Road, ads *server.Server, registry *prometheus.Registry,
) error {
	log := road.Log
	// Leases are renewed, and addresses written by so many at once, whatever
	// else is asked of the API server: what bounds them is not the rate.
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS = -1
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	metrics, err := status.NewMetrics(registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	r := &replicas{settings: c, log: log, manager: mgr, elector: elector, clients: clients, tracker: &replica.Tracker{Hosts: ads}}
	r.lease = replica.NewLease(&replica.Lease{
		Leases: clients.CoordinationV1(), Namespace: c.Replica.Namespace, Identity: c.Replica.Identity,
		Tracker: r.tracker, Envoys: ads.Envoys, Log: log,
	})
	r.view = &replica.View{Identity: c.Replica.Identity, Tracker: r.tracker, Log: log}
	r.addresses = &status.Addresses{}
	r.controller = &status.Controller{Cache: mgr.GetCache(), Log: log, New: func() *status.Reconciler {
		return &status.Reconciler{
			Objects:   index.Objects{Cluster: mgr.GetCache(), Scope: c.Scope.scope()},
			Ingresses: clients.NetworkingV1(), Addresses: r.addresses, Verdicts: r.view,
			Tracker: r.tracker, Hosts: ads, Reporter: road.Reporter, Metrics: metrics, Now: time.Now,
		}
	}}
	r.connect(ctx, road)
	registry.MustRegister(replica.NewMetrics(r.tracker))
	return errors.Join(r.controller.Watch(ctx), r.answerChallenges(ctx, road, ads, registry), r.add())
}

// connect lets them hear of one another.
func (r *replicas) connect(ctx context.Context, road *controllers.Road) {
	road.Tracker = r.tracker
	road.Delivery.Served, road.Delivery.Rejected = r.tracker.Heard, r.tracker.Heard
	road.Delivery.Envoys = func(route.Gateway) { r.lease.EnvoysChanged() }
	r.tracker.Settled, r.tracker.Moved = r.controller.Wake, r.controller.WakeWaiting
	r.view.Changed = r.controller.WakeWaiting
	r.addresses.Changed = func() { r.controller.WakeAll(ctx) }
	var list []networkingv1.IngressLoadBalancerIngress
	for _, address := range r.settings.Status.Addresses {
		list = append(list, status.Address(address))
	}
	r.addresses.Set(list)
}

// add has them run.
func (r *replicas) add() error {
	namespace := r.settings.Replica.Namespace
	r.elector.Add("addresses in ingresses", r.controller.Lead)
	r.elector.Add("leases of replicas that are gone", func(ctx context.Context) error {
		return replica.RemoveRelics(ctx, r.clients.CoordinationV1(), namespace, r.view)
	})
	wrong := errors.Join(r.manager.Add(r.lease), r.manager.Add(everywhere(func(ctx context.Context) error {
		return replica.Watch(ctx, r.clients.CoordinationV1(), namespace, r.view)
	})))
	if service := r.settings.Status.service; service.Name != "" {
		wrong = errors.Join(wrong, r.manager.Add(everywhere(func(ctx context.Context) error {
			return r.addresses.Follow(ctx, r.clients.CoreV1(), service)
		})))
	}
	return wrong
}
