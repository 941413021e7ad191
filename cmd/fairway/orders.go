package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/record"

	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/certificates/issuer"
	"github.com/fairwaynet/fairway/controllers/certificates/ordering"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/objects/fieldmanager"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
)

// orderCertificates makes the leader maintain accounts with Issuers, and order
// certificates from them.
func (r *replicas) orderCertificates(
	ctx context.Context, controllers *edge.Controllers, recorder record.EventRecorder, registry *prometheus.Registry,
) error {
	o := &ordering.Ordering{
		Cache:        r.manager.GetCache(),
		Objects:      index.Objects{Cluster: r.manager.GetCache(), Scope: r.settings.Scope.scope()},
		Secrets:      secretstore.Cluster{Live: r.manager.GetAPIReader(), Writer: r.manager.GetClient()},
		Installation: r.settings.Replica.Installation,
		Namespace:    r.settings.Replica.Namespace,
		Envoys:       challenge.AllReplicas{View: r.view},
		Resolver:     r.settings.Challenge.resolver(r.log),
		Reporter:     controllers.Reporter,
		Events:       recorder,
		Statuses:     issuer.Cluster{Writer: r.manager.GetClient(), Manager: fieldmanager.Status(r.settings.managers().Conditions)},
		UserAgent:    userAgent(),
		Log:          r.log,
	}
	if err := o.Assemble(ctx, registry); err != nil {
		return err
	}
	r.elector.Add("accounts with issuers", o.LeadIssuers)
	r.elector.Add("orders of certificates", o.LeadOrders)
	return r.manager.Add(leader.Everywhere(func(ctx context.Context) error {
		err := o.WatchCustom(ctx)
		<-ctx.Done() // returning early would end the manager
		return err
	}))
}

// userAgent is Fairway's User-Agent for requests to authorities.
func userAgent() string { return "fairway/" + ownVersion() }
