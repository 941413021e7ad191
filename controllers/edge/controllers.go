// Package edge is the controllers of gateways: it lists their parts (parts.go), has
// an assembly run them, and hears what became of what they published.
//
// It holds no rule about what is served (xds/route) nor how (xds/envoy,
// xds/server). Its invariant: no Envoy is answered before the first picture is
// complete, and the picture that the controllers arrive at, by whatever
// history, is the one that a first pass over the same objects gives.
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
	// secretsPatience is how long the first picture waits for Secrets that only the
	// API server has.
	secretsPatience = 5 * time.Second
	// ordersPatience is how long the first picture waits for the challenges that
	// belong to it, and publishedPatience how long for the Services that publish
	// gateways.
	ordersPatience    = 5 * time.Second
	publishedPatience = 5 * time.Second
)

// Publisher takes all that shall be served. It is *server.Server.
type Publisher interface {
	ingress.Publisher
	endpoints.Publisher
	gatewayconfig.Publisher
	servercert.Publisher
	backendca.Publisher
	clientca.Publisher
	// Open says that the first picture is complete.
	Open()
}

// Controllers lead from the objects of a cluster (or of a folder) to what Envoy
// serves. It is a manager.Runnable.
type Controllers struct {
	Cache cache.Cache
	// Live reads the API server itself; nil where there is none.
	Live      client.Reader
	Publisher Publisher
	Reporter  *report.Reporter
	// Base are the settings of gateways, where their configuration says
	// nothing else; Adapt, if not nil, has the last word.
	Base  route.Settings
	Adapt func(route.Settings) route.Settings
	// Published are the Services that publish gateways; nil: none.
	Published *gatewayconfig.PublishedServices
	// LocalEndpoints says that EndpointSlices may have route.LocalPrefixes, also
	// where Base does not let all backends: those of a folder were written for the
	// machine that it is on.
	LocalEndpoints bool
	// Conditions, if not nil, hears whose conditions may have changed.
	Conditions *gatewayconfig.Conditions
	// Scope says which Ingresses are looked at.
	Scope index.Scope
	// Challenges are what hosts answer to certificate authorities; nil: nothing.
	Challenges *challenge.Set
	// Orders, if not nil, tells them; it is waited for, but not for long.
	Orders *challenge.Watch
	// Certificates says what the default certificate is.
	Certificates servercert.Options
	// PartialSecrets says that a Secret which is not in the Cache may exist all the
	// same: that is no Problem then.
	PartialSecrets bool
	// SystemRoots are the certificates, in PEM, that vouch for backends whose
	// Services say "system"; nil: nobody knows, which is no Problem.
	SystemRoots []byte
	// Delivery hears what became of what was published; nil: nobody.
	Delivery *Delivery
	// Tracker hears of Ingresses and of what was reconciled; nil: nobody.
	Tracker *replica.Tracker
	Metrics *Metrics // may be nil
	// Opened is called when the first picture is published; may be nil.
	Opened func()
	Log    logr.Logger

	custom bool             // the custom resources are watched
	now    func() time.Time // for when Secrets are asked for again; nil: time.Now
}

// Index tells the cache what the Controllers read and by what. Call it before the
// cache starts: then all kinds are listed at once. But for Secrets: what a cache
// keeps of them follows from the Ingresses (servercert.Trimmer), so that they
// come after these.
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
// picture as the objects ask until ctx ends. The cache must have been started.
func (c *Controllers) Start(ctx context.Context) error {
	parts := c.parts(c.counted())
	run := c.assemble(parts)
	run.Beside = append(run.Beside, parts.secrets.Run)
	if !c.custom {
		run.Beside = append(run.Beside, func(ctx context.Context) error { return c.awaitCustom(ctx, parts) })
	}
	return run.Start(ctx)
}

// assemble puts the parts together.
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

// open lets Envoys have the picture, all of which is published.
func (c *Controllers) open(parts *parts, problems assembly.Problems) {
	c.Publisher.Open()
	c.Log.Info("first picture published", "gateways", len(parts.gateways.Values()), "hosts", len(parts.hosts.Values()),
		"backends", len(parts.backends.Values()), "certificates", len(parts.certificates.Values()), "problems", len(problems.All()))
	if c.Opened != nil {
		c.Opened()
	}
}

// Objects is how what the Controllers look at is found.
func (c *Controllers) Objects() index.Objects {
	return index.Objects{Cluster: c.Cache, Scope: c.Scope}
}
