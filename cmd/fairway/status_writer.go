package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/kubernetes"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/connrotation"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// replicas is what tells this replica of the others, and writes for all.
type replicas struct {
	settings *controllerSettings
	log      logr.Logger
	manager  manager.Manager
	elector  *leader.Elector
	clients  kubernetes.Interface
	reporter status.Reporter

	tracker    *replica.Tracker
	contact    *replica.Contact
	lease      *replica.Lease
	view       *replica.View
	addresses  *status.Addresses
	controller *status.Controller
	challenges *challenge.Set
}

// teller is what this replica knows of itself and tells: the elector, whether the
// API server is in reach, and how the leader tells owners what became of their
// objects.
type teller struct {
	*leader.Elector

	contact *replica.Contact
	events  record.EventRecorder
}

// addReplica has this replica tell the others what its Envoys serve, and as the
// leader write addresses into the Ingresses that all serve.
func (c *controllerSettings) addReplica(
	ctx context.Context, mgr manager.Manager, elector teller,
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
	r := &replicas{
		settings: c, log: log, manager: mgr, elector: elector.Elector, clients: clients, reporter: road.Reporter, tracker: road.Tracker,
		contact: elector.contact,
	}
	r.tracker.Hosts = ads
	leases, connections, err := leaseClient(config)
	if err != nil {
		return err
	}
	r.lease = replica.NewLease(&replica.Lease{
		Leases: leases, Contact: elector.contact, Reconnect: connections.CloseAll, Namespace: c.Replica.Namespace, Identity: c.Replica.Identity,
		Version: ownVersion(), Tracker: r.tracker, Envoys: ads.Envoys, Unproved: ads.Unproved, Log: log,
	})
	r.view = &replica.View{Identity: c.Replica.Identity, Tracker: r.tracker, Log: log}
	r.addresses = &status.Addresses{}
	road.Published = c.Publish.services(log)
	r.addresses.Heard = road.Published.Set
	r.controller = &status.Controller{Cache: mgr.GetCache(), Log: log, New: func() *status.Reconciler {
		return &status.Reconciler{
			Objects:   index.Objects{Cluster: mgr.GetCache(), Scope: c.Scope.scope()},
			Ingresses: clients.NetworkingV1(), Addresses: r.addresses, Verdicts: r.view,
			Tracker: r.tracker, Hosts: ads, Reporter: road.Reporter, Metrics: metrics, Now: time.Now,
		}
	}}
	r.connect(ctx, road)
	registry.MustRegister(replica.NewMetrics(r.tracker))
	return errors.Join(r.controller.Watch(ctx), r.answerChallenges(road, ads, registry),
		r.orderCertificates(ctx, road, elector.events, registry), r.add())
}

// leaseClient has a connection of its own, which can be given up: one that died
// without a word must not keep the Lease from being renewed over another.
func leaseClient(config *rest.Config) (*coordinationv1.CoordinationV1Client, *connrotation.Dialer, error) {
	config = rest.CopyConfig(config)
	dialer := connrotation.NewDialer((&net.Dialer{Timeout: 2 * time.Second}).DialContext)
	config.Dial = dialer.DialContext
	client, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return client, dialer, nil
}

// tracked adds to how objects are cached that the Tracker hears of Ingresses
// before anybody else.
func tracked(cached map[client.Object]cache.ByObject, tracker *replica.Tracker) map[client.Object]cache.ByObject {
	cached[&networkingv1.Ingress{}] = cache.ByObject{Transform: controllers.TrimTelling(tracker)}
	return cached
}

// connect lets them hear of one another.
func (r *replicas) connect(ctx context.Context, road *controllers.Road) {
	road.Delivery.Served, road.Delivery.Rejected = r.tracker.Heard, r.tracker.Heard
	road.Delivery.Envoys = func(route.Gateway) { r.lease.EnvoysChanged() }
	r.tracker.Settled, r.tracker.Moved = r.controller.Wake, r.controller.WakeWaiting
	r.view.Changed = r.controller.WakeWaiting
	r.addresses.Changed = func() { r.controller.WakeAll(ctx) }
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
	for _, gateway := range r.settings.Publish.tell(r.addresses) {
		service := r.settings.Publish.each[gateway].service
		wrong = errors.Join(wrong, r.manager.Add(everywhere(func(ctx context.Context) error {
			return r.addresses.Follow(ctx, r.clients.CoreV1(), gateway, service, r.reporter)
		})))
	}
	return wrong
}
