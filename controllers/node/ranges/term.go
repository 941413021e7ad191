package ranges

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/ranges"
)

const (
	// workers is how many Nodes are written at once, so that one that hangs holds nobody up.
	workers = 16
	// A Node that could not be written is tried again after firstRetry, then after twice
	// that, up to lastRetry.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// pause is the time between two passes: while thousands of Nodes start, each has events.
	// It is longer while promises are many, so that a write of the ledger adds many.
	pause     = 100 * time.Millisecond
	longPause = time.Second
	// A cache that is behind a list of the API server is asked again after recheck. After
	// relist the API server lists again: a Node that the cache lacks may be gone.
	recheck = 50 * time.Millisecond
	relist  = 5 * time.Second
)

// Reporter takes the Problems of a key.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// nodeKey is the reporter's key of what is wrong with the ranges of the Node of a name.
type nodeKey string

// term is the time for which a leader has the last version of the ledger.
type term struct {
	pools   ranges.Pools
	cluster Cluster
	// seen are the Nodes of a cache.
	seen     func(context.Context) ([]Node, error)
	reporter Reporter
	log      logr.Logger
	queue    workqueue.TypedRateLimitingInterface[string] // names of Nodes to write
	changed  bell

	told map[string]bool // Nodes with Problems

	mu      sync.Mutex
	ledger  Ledger
	version Version
	refused map[string]string // the API server's answers, by the name of the Node
}

// run gives ranges until ctx ends. Decided is called after each pass with the number of
// Nodes that have none.
func (t *term) run(ctx context.Context, decided func(waiting int)) error {
	t.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry))
	if err := t.begin(ctx); err != nil {
		return err
	}
	defer t.retract(context.WithoutCancel(ctx))
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error {
		<-ctx.Done()
		t.queue.ShutDown()
		return nil
	})
	for range workers {
		running.Go(func() error { return t.work(ctx) })
	}
	running.Go(func() error {
		for {
			plan, err := t.pass(ctx)
			if err != nil {
				return err
			}
			decided(plan.waiting)
			between := pause
			if plan.later {
				between = longPause
			}
			if !wait(ctx, between) || !t.changed.await(ctx) {
				return nil
			}
		}
	})
	return running.Wait()
}

// begin reads the ledger, and then waits until the cache shows all that earlier leaders did.
// What one does from now on changes the ledger, and so this leader's next promise fails.
func (t *term) begin(ctx context.Context) error {
	ledger, version, err := t.cluster.Read(ctx)
	if err != nil {
		return err
	}
	if err := t.catchUp(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	t.ledger, t.version, t.refused = ledger, version, map[string]string{}
	t.mu.Unlock()
	for name := range ledger.Promises { // of earlier leaders
		t.queue.Add(name)
	}
	return nil
}

// catchUp returns when the cache shows each Node that exists now, with its ranges. What an
// earlier leader gave and struck from the ledger is then known.
func (t *term) catchUp(ctx context.Context) error {
	for ctx.Err() == nil {
		listed, err := t.cluster.Nodes(ctx)
		if err != nil {
			return err
		}
		for until := time.Now().Add(relist); time.Now().Before(until); {
			cached, err := t.seen(ctx)
			if err != nil {
				return err
			}
			if unseen(listed, cached) == 0 {
				return nil
			}
			if !wait(ctx, recheck) {
				break
			}
		}
	}
	return ctx.Err()
}

// pass decides about all Nodes, and writes the ledger if there is a new promise.
func (t *term) pass(ctx context.Context) (plan, error) {
	nodes, err := t.seen(ctx)
	if err != nil {
		return plan{}, err
	}
	t.mu.Lock()
	ledger, refused := t.ledger, maps.Clone(t.refused)
	t.mu.Unlock()
	p := decide(t.pools, ledger, nodes, refused)
	version := t.version
	if len(p.added) > 0 {
		if version, err = t.cluster.Write(ctx, p.ledger, version); err != nil {
			return plan{}, fmt.Errorf("promise ranges to %d nodes: %w", len(p.added), err)
		}
	}
	t.mu.Lock()
	t.ledger, t.version = p.ledger, version
	maps.DeleteFunc(t.refused, func(name, _ string) bool { _, open := p.ledger.Promises[name]; return !open })
	t.mu.Unlock()
	for _, name := range p.added {
		t.queue.Add(name)
	}
	t.report(ctx, p.problems)
	return p, nil
}

// report tells of the Nodes with Problems, and forgets those without.
func (t *term) report(ctx context.Context, problems map[string][]problem.Problem) {
	if t.told == nil {
		t.told = map[string]bool{}
	}
	for name := range t.told {
		if len(problems[name]) == 0 {
			t.reporter.Report(ctx, nodeKey(name), nil)
			delete(t.told, name)
		}
	}
	for name, found := range problems {
		t.reporter.Report(ctx, nodeKey(name), found)
		t.told[name] = true
	}
}

// retract forgets all Problems: the next leader finds them.
func (t *term) retract(ctx context.Context) { t.report(ctx, nil) }

// work writes Nodes until the queue ends.
func (t *term) work(ctx context.Context) error {
	for {
		name, ended := t.queue.Get()
		if ended {
			return nil
		}
		if t.give(ctx, name) {
			t.queue.Forget(name)
		} else {
			t.queue.AddRateLimited(name)
		}
		t.queue.Done(name)
	}
}

// give writes what is promised to a Node. It returns false if it is to be tried again.
func (t *term) give(ctx context.Context, name string) bool {
	t.mu.Lock()
	promise, open := t.ledger.Promises[name]
	t.mu.Unlock()
	if !open {
		return true
	}
	err := t.cluster.Give(ctx, name, promise)
	if err == nil {
		t.log.Info("a node has a range of addresses for its pods", "node", name, "ranges", join(promise.Ranges))
		return true
	}
	if ctx.Err() != nil || apierrors.IsNotFound(err) {
		return true // the next leader goes on; the Node's end is an event
	}
	t.log.Error(err, "write the range of a node's pods", "node", name, "ranges", join(promise.Ranges))
	t.mu.Lock()
	t.refused[name] = err.Error()
	t.mu.Unlock()
	t.changed.ring()
	return false
}
