package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/edge/ingressstatus"
	"github.com/fairwaynet/fairway/controllers/objects/fieldmanager"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// replicas exchanges state with the other replicas, and writes Ingress status on
// behalf of all.
type replicas struct {
	settings *controllerSettings
	log      logr.Logger
	manager  manager.Manager
	elector  *leader.Elector
	clients  kubernetes.Interface
	reporter ingressstatus.Reporter

	tracker    *replica.Tracker
	contact    *replica.Contact
	lease      *replica.Lease
	view       *replica.View
	addresses  *ingressstatus.Addresses
	controller *ingressstatus.Controller
	challenges *challenge.Set
}

// teller holds the state of this replica that it shares: the elector, the contact
// with the API server, the leader's event recorder, and the Problems that only the
// leader can find.
type teller struct {
	*leader.Elector

	contact  *replica.Contact
	events   record.EventRecorder
	problems func() []problem.Problem
}

// addReplica makes this replica tell the others what its Envoys serve. The leader
// also writes addresses into the Ingresses that all replicas serve.
func (c *controllerSettings) addReplica(
	ctx context.Context, mgr manager.Manager, elector teller,
	controllers *edge.Controllers, ads *server.Server, registry *prometheus.Registry,
) error {
	log := controllers.Log
	// Renewing leases and writing addresses must not wait for other requests to
	// the API server. Their own concurrency limits them, so they need no rate
	// limit.
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS = -1
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	metrics, err := ingressstatus.NewMetrics(registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	r := &replicas{
		settings: c, log: log, manager: mgr, elector: elector.Elector, clients: clients, reporter: controllers.Reporter, tracker: controllers.Tracker,
		contact: elector.contact,
	}
	r.tracker.Hosts = ads
	leases, connections, err := replica.NewClient(config)
	if err != nil {
		return err
	}
	r.lease = replica.NewLease(&replica.Lease{
		Leases: leases, Contact: elector.contact, Reconnect: connections.CloseAll, Identity: c.Replica.Identity,
		Installation: c.Replica.Installation, Namespace: c.Replica.Namespace, Controller: c.Scope.Controller.String(),
		Version: ownVersion(), Tracker: r.tracker, Envoys: ads.Envoys, Unproved: ads.FailedProofs,
		Problems: elector.problems, Log: log,
	})
	r.view = &replica.View{Identity: c.Replica.Identity, Tracker: r.tracker, Log: log}
	r.addresses = &ingressstatus.Addresses{}
	controllers.Published = c.Publish.services(log)
	r.addresses.Heard = controllers.Published.Set
	r.controller = ingressstatus.NewController(mgr.GetCache(), log, func() *ingressstatus.Reconciler {
		return &ingressstatus.Reconciler{
			Objects:   index.Objects{Cluster: mgr.GetCache(), Scope: c.Scope.scope()},
			Ingresses: clients.NetworkingV1(), Manager: fieldmanager.Status(c.managers().Addresses), Addresses: r.addresses, Verdicts: r.view,
			Tracker: r.tracker, Hosts: ads, Reporter: controllers.Reporter, Metrics: metrics, Now: time.Now,
		}
	})
	r.connect(ctx, controllers)
	registry.MustRegister(replica.NewMetrics(r.tracker))
	return errors.Join(r.controller.Watch(ctx), r.answerChallenges(controllers, ads, registry),
		r.orderCertificates(ctx, controllers, elector.events, registry), r.add())
}

// connect connects the callbacks of the parts.
func (r *replicas) connect(ctx context.Context, controllers *edge.Controllers) {
	controllers.Delivery.Served, controllers.Delivery.Rejected = r.tracker.Heard, r.tracker.Heard
	controllers.Delivery.Envoys = func(route.Gateway) { r.lease.EnvoysChanged() }
	r.tracker.Settled = func(ingress types.NamespacedName) { r.controller.Wake(ingress) }
	r.tracker.Moved = r.controller.WakeWaiting
	r.view.Changed = r.controller.WakeWaiting
	r.addresses.Changed = func() { r.controller.WakeAll(ctx) }
}

// add adds them to the elector and the manager.
func (r *replicas) add() error {
	namespace := r.settings.Replica.Namespace
	r.elector.Add("addresses in ingresses", r.controller.Lead)
	r.elector.Add("leases of replicas that are gone", func(ctx context.Context) error {
		return replica.RemoveExpired(ctx, r.clients.CoordinationV1(), namespace, r.view)
	})
	wrong := errors.Join(r.manager.Add(r.lease), r.manager.Add(leader.Everywhere(func(ctx context.Context) error {
		return replica.Watch(ctx, r.clients.CoordinationV1(), namespace, r.settings.Replica.Installation, r.view)
	})))
	r.settings.Publish.each.SetAddresses(r.addresses)
	for gateway, service := range r.settings.Publish.each.Services() {
		wrong = errors.Join(wrong, r.manager.Add(leader.Everywhere(func(ctx context.Context) error {
			return r.addresses.Follow(ctx, r.clients.CoreV1(), gateway, service, r.reporter)
		})))
	}
	return wrong
}
