package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/certificates/issuer"
	"github.com/fairwaynet/fairway/controllers/certificates/order"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	"github.com/fairwaynet/fairway/tls/challenge/dns"
	"github.com/fairwaynet/fairway/tls/challenge/obstacle"
)

// kindsPoll is the time between two checks for custom resources that the cluster
// does not have yet.
const kindsPoll = 10 * time.Second

// ordering orders certificates, in a cluster or from files.
type ordering struct {
	Cache     cache.Cache
	Objects   index.Objects
	Secrets   secretstore.Store
	Namespace string // of the controller's own Secrets, and of those for Issuers
	Envoys    order.Envoys
	Resolver  *dns.Resolver
	Reporter  order.Reporter
	Events    order.Events
	Statuses  issuer.Statuses
	Log       logr.Logger

	accounts *issuer.Accounts
	states   *order.States
	turns    *order.Limiter
	metrics  *order.Metrics
	issuers  *issuer.Controller
	orders   *order.Controller
}

// assemble wires the controllers together.
func (o *ordering) assemble(ctx context.Context, registry prometheus.Registerer) error {
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

func (o *ordering) newIssuers() issuer.TermReconciler {
	return issuer.New(issuer.Options{
		Objects: o.Objects, Secrets: o.Secrets, Namespace: o.Namespace, Accounts: o.accounts, States: o.states, Limiter: o.turns,
		Statuses: o.Statuses, Reporter: o.Reporter, UserAgent: userAgent(), Now: time.Now, Random: rand.Reader, Log: o.Log,
	})
}

func (o *ordering) newOrders() order.TermReconciler {
	answers := &order.Answers{
		Envoys: o.Envoys, Objects: o.Objects, Secrets: o.Secrets, Namespace: o.Namespace,
		Resolver: o.Resolver, Checker: &obstacle.Checker{Names: o.Resolver}, Now: time.Now, Log: o.Log,
	}
	return order.New(order.Options{
		Objects: o.Objects, Secrets: o.Secrets, Namespace: o.Namespace, Accounts: o.accounts, Presenter: answers, Prechecker: answers,
		Reporter: o.Reporter, Events: o.Events, States: o.states, Limiter: o.turns, Wake: o.orders.Wake, Metrics: o.metrics, Now: time.Now, Log: o.Log,
	})
}

// watchCustom starts watching the custom resources as soon as the cluster has
// them.
func (o *ordering) watchCustom(ctx context.Context) error {
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

// orderCertificates makes the leader maintain accounts with Issuers, and order
// certificates from them.
func (r *replicas) orderCertificates(
	ctx context.Context, controllers *edge.Controllers, recorder record.EventRecorder, registry *prometheus.Registry,
) error {
	o := &ordering{
		Cache:     r.manager.GetCache(),
		Objects:   index.Objects{Cluster: r.manager.GetCache(), Scope: r.settings.Scope.scope()},
		Secrets:   secretstore.Cluster{Live: r.manager.GetAPIReader(), Writer: r.manager.GetClient()},
		Namespace: r.settings.Replica.Namespace,
		Envoys:    challenge.AllReplicas{View: r.view},
		Resolver:  r.settings.Challenge.resolver(r.log),
		Reporter:  controllers.Reporter,
		Events:    recorder,
		Statuses:  issuer.Cluster{Writer: r.manager.GetClient()},
		Log:       r.log,
	}
	if err := o.assemble(ctx, registry); err != nil {
		return err
	}
	led := func(lead func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			if !o.Cache.WaitForCacheSync(ctx) {
				return nil
			}
			return lead(ctx)
		}
	}
	r.elector.Add("accounts with issuers", led(o.issuers.Lead))
	r.elector.Add("orders of certificates", led(o.orders.Lead))
	return r.manager.Add(leader.Everywhere(func(ctx context.Context) error {
		err := o.watchCustom(ctx)
		<-ctx.Done() // returning early would end the manager
		return err
	}))
}

// resolver uses the given DNS servers, or those of the system.
func (c *challengeSettings) resolver(log logr.Logger) *dns.Resolver {
	if len(c.Resolvers) > 0 {
		return &dns.Resolver{Servers: c.Resolvers}
	}
	resolver, err := dns.System()
	if err != nil {
		log.Error(err, "cannot find the DNS servers: names are not checked before certificates are ordered")
		return &dns.Resolver{}
	}
	return resolver
}

// userAgent is Fairway's User-Agent for requests to authorities.
func userAgent() string {
	build, _ := debug.ReadBuildInfo()
	return "fairway/" + version(build)
}
