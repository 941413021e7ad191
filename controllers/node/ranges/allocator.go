package ranges

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/cni/ranges"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
)

// linger is how long a leader goes on when each Node has a range. Nodes seldom start alone,
// and a new leader lists them all.
const linger = 10 * time.Minute

// recandidate is how often a candidate looks whether it still has to stand. It has to look
// without an event when it has lost the Lease.
const recandidate = 30 * time.Second

// Terms are the times of the election. Each candidate asks for the Lease every few seconds,
// and there may be as many as Nodes.
func Terms() leader.Durations {
	return leader.Durations{Lease: 15 * time.Second, Renew: 10 * time.Second, Retry: 4 * time.Second}
}

// Allocator takes part in giving Nodes their ranges. It is a manager.Runnable.
//
// The agent of a Node that has no range stands for election, and nobody else: a cluster of
// which all Nodes have ranges has neither candidates nor a leader. The leader gives ranges
// to all Nodes, and goes on for a while when none lacks one.
type Allocator struct {
	// Node is the name of this agent's Node.
	Node    string
	Pools   ranges.Pools
	Objects cache.Cache
	Cluster Cluster
	// Elector makes one that has no task yet.
	Elector  func() (*leader.Elector, error)
	Reporter Reporter
	Log      logr.Logger

	own, any bell // ring for changes of this Node, and of any
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*Allocator) NeedLeaderElection() bool { return false }

// Start takes part until ctx ends.
func (a *Allocator) Start(ctx context.Context) error {
	a.own, a.any = newBell(), newBell()
	informer, err := a.Objects.GetInformer(ctx, &corev1.Node{})
	if err != nil {
		return watch.UnlessEnded(ctx, fmt.Errorf("watch nodes: %w", err))
	}
	if _, err := informer.AddEventHandler(a.events()); err != nil {
		return watch.UnlessEnded(ctx, fmt.Errorf("watch nodes: %w", err))
	}
	for ctx.Err() == nil {
		lacks, err := a.lacks(ctx)
		if err != nil {
			return watch.UnlessEnded(ctx, err)
		}
		if !lacks {
			a.own.await(ctx)
			continue
		}
		if err := a.stand(ctx); err != nil {
			return err
		}
	}
	return nil
}

// events ring for Nodes that come and go, or get a range.
func (a *Allocator) events() toolscache.ResourceEventHandler {
	ring := func(object any) {
		if node, ok := object.(*corev1.Node); !ok || node.Name == a.Node { // a notice of one that was missed is none
			a.own.ring()
		}
		a.any.ring()
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: ring, DeleteFunc: ring,
		UpdateFunc: func(before, now any) {
			was, isNode := before.(*corev1.Node)
			is, areNodes := now.(*corev1.Node)
			if !isNode || !areNodes || was.UID != is.UID || len(was.Spec.PodCIDRs) != len(is.Spec.PodCIDRs) {
				ring(now)
			}
		},
	}
}

// lacks reports whether this agent's Node exists and has no range.
func (a *Allocator) lacks(ctx context.Context) (bool, error) {
	var node corev1.Node
	err := a.Objects.Get(ctx, types.NamespacedName{Name: a.Node}, &node)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the ranges of node %s: %w", a.Node, err)
	}
	return len(node.Spec.PodCIDRs) == 0, nil
}

// stand stands for election, and leads if elected, for as long as it is needed.
func (a *Allocator) stand(ctx context.Context) error {
	elector, err := a.Elector()
	if err != nil {
		return err
	}
	ctx, resign := context.WithCancel(ctx)
	defer resign()
	elector.Add("give nodes their ranges", func(ctx context.Context) error { return a.lead(ctx, resign) })
	ended := make(chan struct{})
	go func() { // ends with ctx, at the latest when this function returns
		defer close(ended)
		for a.own.within(ctx, recandidate) {
			if lacks, err := a.lacks(ctx); err == nil && !lacks && !elector.Leads() {
				resign()
			}
		}
	}()
	err = elector.Start(ctx)
	resign()
	<-ended
	return err
}

// lead gives ranges until ctx ends. It resigns when all Nodes have had one for a while.
func (a *Allocator) lead(ctx context.Context, resign func()) error {
	idle := time.AfterFunc(linger, resign)
	defer idle.Stop()
	needed := false
	t := &term{pools: a.Pools, cluster: a.Cluster, seen: a.seen, reporter: a.Reporter, log: a.Log, changed: a.any}
	return t.run(ctx, func(waiting int) {
		if waiting > 0 {
			idle.Stop()
		} else if needed {
			idle.Reset(linger)
		}
		needed = waiting > 0
	})
}

// seen are the Nodes of the cache.
func (a *Allocator) seen(ctx context.Context) ([]Node, error) {
	var list corev1.NodeList
	if err := a.Objects.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	nodes := make([]Node, len(list.Items))
	for i := range list.Items {
		nodes[i] = nodeOf(&list.Items[i])
	}
	return nodes, nil
}
