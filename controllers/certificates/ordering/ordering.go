// Package ordering runs the two controllers that get certificates from authorities:
// issuer, which keeps the accounts, and order, which uses them.
//
// It connects them and decides nothing itself. Its invariant: a change of an account
// wakes the orders of that account, and a change of orders the status of their Issuer.
package ordering

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/controllers/certificates/issuer"
	"github.com/fairwaynet/fairway/controllers/certificates/order"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/tls/challenge/dns"
	"github.com/fairwaynet/fairway/tls/challenge/obstacle"
)

// kindsPoll is the time between two checks for custom resources that the cluster
// does not have yet.
const kindsPoll = 10 * time.Second

// Ordering is the two controllers of one process, in a cluster or over files.
type Ordering struct {
	Cache        cache.Cache
	Objects      index.Objects
	Secrets      secretstore.Store
	Installation installation.Name
	Namespace    string // of the controller's own Secrets, and of those for Issuers
	Envoys       order.Envoys
	Resolver     *dns.Resolver
	Reporter     order.Reporter
	Events       order.Events
	Statuses     issuer.Statuses
	UserAgent    string // of requests to authorities
	Log          logr.Logger

	accounts *issuer.Accounts
	states   *order.States
	turns    *order.Limiter
	metrics  *order.Metrics
	issuers  *issuer.Controller
	orders   *order.Controller
}

// Assemble makes the controllers, connects them, and begins their watches.
func (o *Ordering) Assemble(ctx context.Context, registry prometheus.Registerer) error {
	o.states = &order.States{Changed: func(name string) { o.issuers.Wake(name) }}
	o.turns = &order.Limiter{Now: time.Now}
	o.metrics = order.NewMetrics(o.states)
	o.accounts = &issuer.Accounts{}
	o.issuers = &issuer.Controller{Name: "issuer", Workers: issuer.Workers, Log: o.Log, New: o.newIssuers}
	o.orders = &order.Controller{Name: "order", Workers: order.Workers, Log: o.Log, New: o.newOrders}
	// Finding the orders of an account takes a look at all orders. That is cheap
	// enough, because accounts seldom change.
	o.accounts.Changed = func(string) {
		if err := o.orders.WakeAll(ctx); err != nil {
			o.Log.Error(err, "cannot check all certificates")
		}
	}
	if err := registry.Register(o.metrics); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return order.Watch(ctx, o.orders, o.Cache, o.Objects)
}

func (o *Ordering) newIssuers() issuer.TermReconciler {
	return issuer.New(issuer.Options{
		Objects: o.Objects, Secrets: o.Secrets, Installation: o.Installation, Namespace: o.Namespace, Accounts: o.accounts, States: o.states, Limiter: o.turns,
		Statuses: o.Statuses, Reporter: o.Reporter, UserAgent: o.UserAgent, Now: time.Now, Random: rand.Reader, Log: o.Log,
	})
}

func (o *Ordering) newOrders() order.TermReconciler {
	answers := &order.Answers{
		Envoys: o.Envoys, Objects: o.Objects, Secrets: o.Secrets, Namespace: o.Namespace,
		Resolver: o.Resolver, Checker: &obstacle.Checker{Names: o.Resolver}, Now: time.Now, Log: o.Log,
	}
	return order.New(order.Options{
		Objects: o.Objects, Secrets: o.Secrets, Installation: o.Installation, Namespace: o.Namespace, Accounts: o.accounts, Presenter: answers, Prechecker: answers,
		Reporter: o.Reporter, Events: o.Events, States: o.states, Limiter: o.turns, Wake: o.orders.Wake, Metrics: o.metrics, Now: time.Now, Log: o.Log,
	})
}

// LeadIssuers keeps the accounts for one term: it is a task of the leader.
func (o *Ordering) LeadIssuers(ctx context.Context) error { return o.lead(ctx, o.issuers.Lead) }

// LeadOrders orders the certificates for one term: it is a task of the leader.
func (o *Ordering) LeadOrders(ctx context.Context) error { return o.lead(ctx, o.orders.Lead) }

func (o *Ordering) lead(ctx context.Context, lead func(context.Context) error) error {
	if !o.Cache.WaitForCacheSync(ctx) {
		return nil
	}
	return lead(ctx)
}

// WatchCustom starts watching the custom resources as soon as the cluster has
// them.
func (o *Ordering) WatchCustom(ctx context.Context) error {
	missing := append(order.WatchCustom(o.orders, o.Cache, o.Objects),
		func(ctx context.Context) error { return issuer.WatchCustom(ctx, o.issuers, o.Cache) })
	tick := time.NewTicker(kindsPoll)
	defer tick.Stop()
	for {
		missing = slices.DeleteFunc(missing, func(begin func(context.Context) error) bool {
			err := begin(ctx)
			if err != nil && !meta.IsNoMatchError(err) && ctx.Err() == nil {
				o.Log.Error(err, "cannot watch what certificates are ordered by")
			}
			return err == nil
		})
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
