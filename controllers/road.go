// Package controllers puts the reconcilers together: the first pass, which
// makes the first picture, and the controllers, which keep it.
//
// It holds no rule about what is served (xds/route) nor how (xds/envoy,
// xds/server). Its invariant: no Envoy is answered before the first picture is
// complete, and the picture that the controllers arrive at, by whatever
// history, is the one that a first pass over the same objects gives.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/authority"
	"github.com/fairwaynet/fairway/controllers/certificate"
	"github.com/fairwaynet/fairway/controllers/challenge"
	"github.com/fairwaynet/fairway/controllers/clientca"
	"github.com/fairwaynet/fairway/controllers/endpoints"
	"github.com/fairwaynet/fairway/controllers/gatewayconfig"
	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/controllers/ingress"
	"github.com/fairwaynet/fairway/controllers/live"
	"github.com/fairwaynet/fairway/controllers/replica"
	"github.com/fairwaynet/fairway/controllers/report"
	"github.com/fairwaynet/fairway/controllers/secretcache"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// workers is how many keys of a controller are worked on at once. Of these, two
	// at most ask the API server (live.Asker).
	workers = 4
	// A key whose reconciliation failed is tried again after firstRetry, then
	// twice that, up to lastRetry.
	firstRetry = 10 * time.Millisecond
	lastRetry  = 30 * time.Second
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
	certificate.Publisher
	authority.Publisher
	clientca.Publisher
	// Open says that the first picture is complete.
	Open()
}

// Road leads from the objects of a cluster (or of a folder) to what Envoy
// serves. It is a manager.Runnable.
type Road struct {
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
	Certificates certificate.Options
	// SystemRoots are the certificates, in PEM, that vouch for backends whose
	// Services say "system".
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

// Index tells the cache what the Road reads and by what. Call it before the
// cache starts: then all kinds are listed at once. But for Secrets: what a cache
// keeps of them follows from the Ingresses (certificate.Trimmer), so that they
// come after these.
func (r *Road) Index(ctx context.Context) error {
	kinds := []client.Object{
		&networkingv1.Ingress{}, &networkingv1.IngressClass{}, &corev1.Service{}, &discoveryv1.EndpointSlice{},
	}
	if r.Scope.Namespaces != nil {
		kinds = append(kinds, index.Namespace())
	}
	for _, kind := range kinds {
		if _, err := r.Cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	if err := r.indexCustom(ctx); err != nil {
		return err
	}
	return index.Register(ctx, r.Cache)
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica
// serves.
func (r *Road) NeedLeaderElection() bool { return false }

// Start publishes the first picture, opens the Publisher, and then keeps the
// picture as the objects ask until ctx ends. The cache must have been started.
//
// The watches begin before the first pass and the workers after it: so nothing
// that happens in between is missed, and the queues never make the first
// picture.
func (r *Road) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := r.reconcilers(r.counted())
	loops, err := r.loops(all)
	if err != nil {
		return err
	}
	if err := beginWatches(ctx, loops); err != nil {
		return err
	}
	if r.Orders != nil {
		r.Orders.Wait(ctx, ordersPatience)
	}
	r.Published.Wait(ctx, publishedPatience)
	switch err := r.open(ctx, all); {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("first pass: %w", err)
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return all.secrets.Run(ctx) })
	if !r.custom {
		running.Go(func() error { return r.awaitCustom(ctx, all.gateways, loops[0]) })
	}
	for _, loop := range loops {
		running.Go(func() error { return loop.Start(ctx) })
	}
	return running.Wait()
}

// beginWatches begins the watches, and returns when what is there has been seen.
func beginWatches(ctx context.Context, loops []loop) error {
	var beginning errgroup.Group // without a context: the watches outlive it
	for _, loop := range loops {
		beginning.Go(func() error { return loop.Warmup(ctx) })
	}
	if err := beginning.Wait(); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// open publishes the first picture: what is referred to before what refers to
// it.
func (r *Road) open(ctx context.Context, all *reconcilers) error {
	published := r.beginPass()
	picture, err := all.firstPass(ctx)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	for gateway, settings := range picture.Settings {
		all.gateways.Publisher.PublishSettings(gateway, *settings)
	}
	for port, backend := range picture.Backends {
		all.backends.Publish(port, backend)
	}
	for key, served := range picture.Certificates {
		r.Publisher.PublishCertificate(route.Key(key), served)
	}
	for key, certificates := range picture.Authorities {
		r.Publisher.PublishAuthority(key, *certificates)
	}
	for key, authorities := range picture.ClientCAs {
		r.Publisher.PublishClientCA(types.NamespacedName(key), *authorities)
	}
	for key, host := range picture.Hosts {
		all.hosts.Publish(key, host)
	}
	for key, problems := range picture.Reports {
		r.Reporter.Report(ctx, key, problems)
	}
	r.Publisher.Open()
	published()
	r.Log.Info("first picture published", "gateways", len(picture.Settings),
		"hosts", len(picture.Hosts), "backends", len(picture.Backends), "certificates", len(picture.Certificates), "problems", len(picture.Problems()))
	if r.Opened != nil {
		r.Opened()
	}
	return nil
}

// loop is a controller whose watches can begin before its workers.
type loop interface {
	Warmup(context.Context) error
	Start(context.Context) error
}

func (r *Road) loops(all *reconcilers) ([]loop, error) {
	var timed reconcile.TypedReconciler[route.Key] = all.hosts
	if r.Delivery != nil {
		timed = r.Delivery.timed(all.hosts, all.hosts.Publisher)
	}
	sources := all.gateways.Sources(r.Cache)
	if r.custom {
		sources = append(sources, all.gateways.CustomSources(r.Cache, false)...)
	}
	first, err1 := newLoop(r.Log, "gateway", all.gateways, sources, nil)
	second, err2 := newLoop(r.Log, "ingress", r.tracked(timed), all.hosts.Sources(r.Cache), all.hosts.IsLarge)
	third, err3 := newLoop(r.Log, "endpoints", all.backends, all.backends.Sources(r.Cache), nil)
	fourth, err4 := newLoop(r.Log, "certificate", all.certificates, all.certificates.Sources(r.Cache), nil)
	fifth, err5 := newLoop(r.Log, "authority", all.authorities, all.authorities.Sources(r.Cache), nil)
	sixth, err6 := newLoop(r.Log, "clientca", all.clientCAs, all.clientCAs.Sources(r.Cache), nil)
	return []loop{first, second, third, fourth, fifth, sixth}, errors.Join(err1, err2, err3, err4, err5, err6)
}

// newLoop makes a controller. Keys that are large, which may be nil, come after all
// others.
func newLoop[K comparable](
	log logr.Logger, name string, reconciler reconcile.TypedReconciler[K], sources []source.TypedSource[K], large func(K) bool,
) (loop, error) {
	made, err := controller.NewTypedUnmanaged(name, controller.TypedOptions[K]{
		Reconciler:              reconciler,
		MaxConcurrentReconciles: workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[K](firstRetry, lastRetry),
		NewQueue:                queues(log, large),
		RecoverPanic:            new(true),
		EnableWarmup:            new(true),
		NeedLeaderElection:      new(false),
		SkipNameValidation:      new(true), // several Roads in one process are fine
		LogConstructor: func(key *K) logr.Logger {
			if key == nil {
				return log.V(1).WithValues("controller", name) // of starting and stopping
			}
			return log.WithValues("controller", name, "key", fmt.Sprint(*key))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make controller %s: %w", name, err)
	}
	for _, source := range sources {
		if err := made.Watch(source); err != nil {
			return nil, fmt.Errorf("watch for controller %s: %w", name, err)
		}
	}
	warm, ok := made.(loop)
	if !ok {
		return nil, fmt.Errorf("controller %s: watches cannot begin before its workers", name)
	}
	return warm, nil
}

// Objects is how what the Road looks at is found.
func (r *Road) Objects() index.Objects {
	return index.Objects{Cluster: r.Cache, Scope: r.Scope}
}

// reconcilers are all that make the picture.
type reconcilers struct {
	gateways *gatewayconfig.Reconciler
	hosts    *ingress.Reconciler
	backends *endpoints.Reconciler

	certificates *certificate.Reconciler
	authorities  *authority.Reconciler
	clientCAs    *clientca.Reconciler
	secrets      *secretcache.Cache // of these three
}

func (r *Road) reconcilers(publisher Publisher) *reconcilers {
	objects := r.Objects()
	var asks, asksEndpoints *live.Asker // each of a controller, whose workers it keeps free
	if r.Live != nil {
		asks, asksEndpoints = live.New(r.Live, r.now), live.New(r.Live, r.now)
	}
	secrets := secretcache.New(r.Cache, r.Live, r.now)
	certificates := certificate.New(objects, secrets, publisher, r.Reporter, r.Certificates)
	backends := endpoints.New(objects, asksEndpoints, publisher, r.Reporter)
	backends.LocalBackends = r.Base.LocalBackends || r.LocalEndpoints
	return &reconcilers{
		gateways: &gatewayconfig.Reconciler{
			Objects: objects, Base: r.Base, Published: r.Published, Adapt: r.Adapt, Publisher: listening{publisher, certificates}, Reporter: r.Reporter,
			Reconciled: r.Conditions.Touch,
		},
		hosts: &ingress.Reconciler{
			Objects: objects, Live: asks, Publisher: publisher, Reporter: r.Reporter, Tracker: r.Tracker,
			Challenges: r.Challenges, LocalBackends: r.Base.LocalBackends,
		},
		backends:     backends,
		certificates: certificates,
		secrets:      secrets,
		authorities: authority.New(objects, secrets, publisher, r.Reporter, authority.Options{
			System: r.SystemRoots, WithoutSecrets: r.Certificates.WithoutSecrets,
		}),
		clientCAs: clientca.New(objects, secrets, publisher, r.Reporter, clientca.Options{
			WithoutSecrets: r.Certificates.WithoutSecrets, Now: r.Certificates.Now,
		}),
	}
}

// listening tells those who keep certificates which gateways have a use for them.
type listening struct {
	gatewayconfig.Publisher
	certificates *certificate.Reconciler
}

// PublishSettings implements gatewayconfig.Publisher.
func (l listening) PublishSettings(gateway route.Gateway, settings route.Settings) {
	l.certificates.Listens(gateway, settings.HTTPSPort != 0)
	l.Publisher.PublishSettings(gateway, settings)
}

// WithdrawGateway implements gatewayconfig.Publisher.
func (l listening) WithdrawGateway(gateway route.Gateway) {
	l.certificates.Listens(gateway, true) // nothing is known of it any more
	l.Publisher.WithdrawGateway(gateway)
}
