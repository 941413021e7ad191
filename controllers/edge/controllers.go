// Package edge is the controllers of gateways. It lists their parts (parts.go),
// has an assembly run them, and hears how Envoys took what was published.
//
// It holds no rule about what is served (xds/route) or how (xds/envoy,
// xds/server). Its invariants: no Envoy is answered before the first picture is
// complete; and whatever the history, the controllers arrive at the picture that a
// first pass over the same objects gives.
package edge

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/certificates/servercert"
	"github.com/fairwaynet/fairway/controllers/edge/backendca"
	"github.com/fairwaynet/fairway/controllers/edge/clientca"
	"github.com/fairwaynet/fairway/controllers/edge/endpoints"
	"github.com/fairwaynet/fairway/controllers/edge/gatewayconfig"
	"github.com/fairwaynet/fairway/controllers/edge/ingress"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// secretsPatience is how long the first picture waits for Secrets that only
	// the API server has.
	secretsPatience = 5 * time.Second
	// ordersPatience is how long the first picture waits for its challenges.
	// publishedPatience is how long it waits for the Services that publish
	// gateways.
	ordersPatience    = 5 * time.Second
	publishedPatience = 5 * time.Second
)

// Publisher takes everything that is to be served. It is *server.Server.
type Publisher interface {
	ingress.Publisher
	endpoints.Publisher
	gatewayconfig.Publisher
	servercert.Publisher
	backendca.Publisher
	clientca.Publisher
	// Open reports that the first picture is complete.
	Open()
}

// Controllers turn the objects of a cluster (or of a folder) into what Envoy
// serves. It is a manager.Runnable.
type Controllers struct {
	Cache cache.Cache
	// Live reads from the API server directly; nil where there is none.
	Live      client.Reader
	Publisher Publisher
	Reporter  *report.Reporter
	// Base are the settings of gateways where their configuration says nothing
	// else. Adapt, if not nil, may change the result.
	Base  route.Settings
	Adapt func(route.Settings) route.Settings
	// Published are the Services that publish gateways; nil: none.
	Published *gatewayconfig.PublishedServices
	// LocalEndpoints allows EndpointSlices to have route.LocalPrefixes even where
	// Base does not allow it to all backends. The EndpointSlices of a folder were
	// written for the machine that holds the folder.
	LocalEndpoints bool
	// Conditions, if not nil, is told which gateways' conditions may have changed.
	Conditions *gatewayconfig.Conditions
	// Scope says which Ingresses are considered.
	Scope index.Scope
	// Challenges are what hosts answer to certificate authorities; nil: nothing.
	Challenges *challenge.Set
	// Orders, if not nil, fills Challenges. The first picture waits for it, up to
	// ordersPatience.
	Orders *challenge.Watch
	// Certificates says which certificate is the default one.
	Certificates servercert.Options
	// PartialSecrets says that a Secret may exist even if it is not in the Cache.
	// A missing one is then no Problem.
	PartialSecrets bool
	// SystemRoots are the certificates, in PEM, that vouch for backends whose
	// Services say "system"; nil: unknown, which is no Problem.
	SystemRoots []byte
	// Delivery hears how Envoys took what was published; may be nil.
	Delivery *Delivery
	// Tracker hears of Ingresses and of what was reconciled; may be nil.
	Tracker *replica.Tracker
	Metrics *Metrics // may be nil
	// Opened is called when the first picture is published; may be nil.
	Opened func()
	Log    logr.Logger

	custom bool             // the custom resources are watched
	now    func() time.Time // the clock for asking for Secrets again; nil: time.Now
}

// Index tells the cache which objects the Controllers read and by which indexes.
// Call it before the cache starts: then all kinds are listed at once. Secrets are
// the exception and come after Ingresses, because the Ingresses decide which
// Secrets a cache keeps (servercert.Trimmer).
func (c *Controllers) Index(ctx context.Context) error {
	kinds := []client.Object{
		&networkingv1.Ingress{}, &networkingv1.IngressClass{}, &corev1.Service{}, &discoveryv1.EndpointSlice{},
	}
	if c.Scope.Namespaces != nil {
		kinds = append(kinds, index.Namespace())
	}
	for _, kind := range kinds {
		if _, err := c.Cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	if err := c.indexCustom(ctx); err != nil {
		return err
	}
	return index.Register(ctx, c.Cache)
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica
// serves.
func (c *Controllers) NeedLeaderElection() bool { return false }

// Start publishes the first picture, opens the Publisher, and then keeps the
// picture up to date until ctx ends. Start the cache first.
func (c *Controllers) Start(ctx context.Context) error {
	parts := c.parts(c.counted())
	run := c.assemble(parts)
	run.Beside = append(run.Beside, parts.secrets.Run)
	if !c.custom {
		run.Beside = append(run.Beside, func(ctx context.Context) error { return c.awaitCustom(ctx, parts) })
	}
	return run.Start(ctx)
}

// assemble makes the Assembly of the parts.
func (c *Controllers) assemble(parts *parts) *assembly.Assembly {
	return &assembly.Assembly{
		Parts:  parts.inOrder(),
		Settle: func(ctx context.Context) { parts.secrets.Settle(ctx, secretsPatience) },
		Report: func(ctx context.Context, key any, problems []problem.Problem) { c.Reporter.Report(ctx, key, problems) },
		Await: func(ctx context.Context) {
			if c.Orders != nil {
				c.Orders.Wait(ctx, ordersPatience)
			}
			c.Published.Wait(ctx, publishedPatience)
		},
		Begin: func() func(assembly.Problems) {
			tracked := c.beginPass()
			return func(problems assembly.Problems) { c.open(parts, problems); tracked() }
		},
		Log: c.Log,
	}
}

// open opens the Publisher to Envoys. The whole picture is published by then.
func (c *Controllers) open(parts *parts, problems assembly.Problems) {
	c.Publisher.Open()
	c.Log.Info("first picture published", "gateways", len(parts.gateways.Values()), "hosts", len(parts.hosts.Values()),
		"backends", len(parts.backends.Values()), "certificates", len(parts.certificates.Values()), "problems", len(problems.All()))
	if c.Opened != nil {
		c.Opened()
	}
}

// For returns the Controllers of an installation that serves another Controller, over
// the same cache.
func (c *Controllers) For(controller route.Controller) *Controllers {
	other := *c
	other.Scope.Controller = controller
	return &other
}

// Objects returns the reader of the objects that the Controllers consider.
func (c *Controllers) Objects() index.Objects {
	return index.Objects{Cluster: c.Cache, Scope: c.Scope}
}
