package declared

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	"github.com/fairwaynet/fairway/controllers/replicas/leaderelected"
)

const (
	// workers is how many objects are written at once.
	workers = 4
	// lastRetry is the longest time between two tries after a failure that is
	// nobody's fault, such as an API server that is away.
	lastRetry = 30 * time.Second
)

// Controller runs the Reconciler for as long as this replica leads. It is a
// manager.Runnable. Use NewController; a nil Controller keeps nothing.
type Controller struct {
	*leaderelected.Controller[Key]

	options    Options
	configMaps cache.Cache // of the one ConfigMap
	objects    cache.Cache
	wrong      *report.OfKind
	pools      bool // AddressPools are kept, too

	mu      sync.Mutex
	watched map[string]bool // kinds
}

// NewController makes a Controller. It has a cache of its own for the ConfigMap:
// without the right to read that, everything else works. It keeps AddressPools only
// with pools: few controllers may write them.
func NewController(mgr manager.Manager, configMap types.NamespacedName, pools bool, log logr.Logger) (*Controller, error) {
	configMaps, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultNamespaces: map[string]cache.Config{
			configMap.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", configMap.Name)},
		},
		DefaultTransform:            cache.TransformStripManagedFields(),
		ReaderFailOnMissingInformer: true,
	})
	if err != nil {
		return nil, fmt.Errorf("watch configmap %s: %w", configMap, err)
	}
	c := &Controller{
		configMaps: configMaps, objects: mgr.GetCache(), watched: map[string]bool{}, pools: pools,
		wrong: &report.OfKind{Kind: "ConfigMap"},
	}
	c.options = Options{
		ConfigMap: configMap, ConfigMaps: configMaps, Objects: c.objects, Live: mgr.GetAPIReader(), Writer: mgr.GetClient(),
		Knows: c.knows, Now: time.Now, Log: log,
	}
	c.Controller = &leaderelected.Controller[Key]{
		Name: "declared", Workers: workers, FirstRetry: firstTry, LastRetry: lastRetry, Log: log,
		New: func() leaderelected.Reconciler[Key] { return New(c.options) },
	}
	return c, nil
}

// Subscribers hear of what is wrong with the ConfigMap. Only the leader looks at
// it, so nothing is told twice.
func (c *Controller) Subscribers(recorder record.EventRecorder) []report.Subscriber {
	if c == nil {
		return nil
	}
	return []report.Subscriber{c.wrong, report.Events{Recorder: recorder, Objects: c.configMaps}}
}

// Problems are those of the ConfigMap, if this replica leads.
func (c *Controller) Problems() []problem.Problem {
	if c == nil {
		return nil
	}
	return c.wrong.Problems()
}

// Join makes keeping the objects a task of the leader. Call it once, before the
// manager starts.
func (c *Controller) Join(ctx context.Context, mgr manager.Manager, elector *leader.Elector, reporter Reporter) error {
	if c == nil {
		return nil
	}
	c.options.Reporter = reporter
	elector.Add("declared objects", func(ctx context.Context) error {
		if !c.configMaps.WaitForCacheSync(ctx) {
			return nil
		}
		return c.Lead(ctx)
	})
	// An entry may concern any object, and seldom changes.
	all := func(ctx context.Context, _ *corev1.ConfigMap) ([]Key, error) { return nil, c.WakeAll(ctx) }
	return errors.Join(leaderelected.Watch(ctx, c.Controller, c.configMaps, &corev1.ConfigMap{}, configMapEssence, all), mgr.Add(c))
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica
// watches.
func (*Controller) NeedLeaderElection() bool { return false }

// Start watches until ctx ends: the ConfigMap, and the kinds that can be declared,
// as soon as the cluster has them.
func (c *Controller) Start(ctx context.Context) error {
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return c.configMaps.Start(ctx) })
	for _, k := range kinds() {
		if k.name == poolKind && !c.pools {
			continue
		}
		running.Go(func() error { c.watchKind(ctx, k); return nil })
	}
	return running.Wait()
}

func (c *Controller) watchKind(ctx context.Context, k kind) {
	for wait := firstTry; ; wait = min(2*wait, lastTry) {
		err := k.watch(ctx, c.Controller, c.objects)
		if err == nil {
			break
		}
		if !meta.IsNoMatchError(err) {
			c.Log.V(1).Info("cannot watch a kind that can be declared; it is tried again", "kind", k.name, "cause", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
	if _, err := c.objects.GetInformer(ctx, k.object()); err != nil { // it waits for all objects
		return // ctx has ended
	}
	c.mu.Lock()
	c.watched[k.name] = true
	c.mu.Unlock()
	if err := c.WakeAll(ctx); err != nil {
		c.Log.Error(err, "cannot look at all declared objects")
	}
}

func (c *Controller) knows(kind string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watched[kind]
}
