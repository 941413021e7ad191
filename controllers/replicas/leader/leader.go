// Package leader elects, by a Lease, the one replica that writes. It runs the
// writing tasks for as long as this replica is elected.
//
// It never ends the process: a replica that has lost the Lease, because the API
// server is away or another was faster, goes on serving Envoys and stands for
// election again. Its invariant: a task of this replica runs only while it holds
// the Lease. If the Lease cannot be renewed in time, the tasks are stopped before
// another replica may take it. On a clean stop the Lease is released after the
// tasks have ended, so that another replica takes over at once.
//
// It uses client-go's election and not the manager's, because the manager ends the
// process with the Lease. So a manager.Runnable that needs leader election would
// run on every replica: add a task here instead.
package leader

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

// Durations are the times of the Lease. A zero field has its default.
type Durations struct {
	// Lease is how long to wait for a replica that has vanished. Default 15 s.
	Lease time.Duration
	// Renew is how long the leader tries to renew before it gives up. It is less
	// than Lease, so that its tasks have ended when another replica's begin.
	// Default 10 s.
	Renew time.Duration
	// Retry is the time between two tries. Default 2 s.
	Retry time.Duration
}

// Default returns t with the defaults in place of zero fields.
func (t Durations) Default() Durations {
	or := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	or(&t.Lease, 15*time.Second)
	or(&t.Renew, 10*time.Second)
	or(&t.Retry, 2*time.Second)
	return t
}

// Validate returns what is wrong with the durations.
func (t Durations) Validate() error {
	t = t.Default()
	switch {
	case t.Retry <= 0:
		return errors.New("the time between two tries must be more than 0")
	case t.Renew <= time.Duration(leaderelection.JitterFactor*float64(t.Retry)):
		return fmt.Errorf("the time to renew in (%s) must be more than %v times that between two tries (%s)",
			t.Renew, leaderelection.JitterFactor, t.Retry)
	case t.Lease <= t.Renew:
		return fmt.Errorf("the lease (%s) must last longer than the time to renew it in (%s)", t.Lease, t.Renew)
	}
	return nil
}

// Elector stands for election until its context ends. It is a manager.Runnable and
// a prometheus.Collector (fairway_leader).
type Elector struct {
	Leases coordinationv1.LeasesGetter
	// Lease is the Lease that the replicas compete for.
	Lease types.NamespacedName
	// Identity is this replica's name; no two running replicas may have the same.
	Identity string
	Terms    Durations
	Log      logr.Logger

	tasks []task
	leads atomic.Bool
}

// Add makes run a task of the leader. Each term calls it with a context that ends
// with the term; it must return soon after that. If it returns earlier, it is
// called again after a second, then after twice that, up to 30 s. Call Add before
// Start. The name is for the log.
func (e *Elector) Add(name string, run func(context.Context) error) {
	e.tasks = append(e.tasks, task{name, run})
}

// Leads reports whether this replica is the leader now.
func (e *Elector) Leads() bool { return e.leads.Load() }

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica
// stands for election.
func (e *Elector) NeedLeaderElection() bool { return false }

// Start stands for election until ctx ends, term after term.
func (e *Elector) Start(ctx context.Context) error {
	if err := e.Terms.Validate(); err != nil {
		return fmt.Errorf("elect a leader: %w", err)
	}
	for ctx.Err() == nil {
		if err := e.stand(ctx); err != nil {
			return fmt.Errorf("elect a leader: %w", err)
		}
	}
	return nil
}

// stand runs one term: from standing for election to the end of the tasks.
func (e *Elector) stand(ctx context.Context) error {
	// The election outlives ctx until the tasks have ended.
	election, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: e.Lease.Namespace, Name: e.Lease.Name},
		Client:     e.Leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: e.Identity},
	}
	t := &term{elector: e}
	durations := e.Terms.Default()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          lock,
		Name:          e.Lease.Name,
		LeaseDuration: durations.Lease,
		RenewDeadline: durations.Renew,
		RetryPeriod:   durations.Retry,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: t.run,
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	var ending sync.WaitGroup
	ending.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer ending.Done()
		t.end()
		end()
	})
	elector.Run(election)
	if stop() {
		t.end()
		return nil
	}
	ending.Wait()
	e.release(context.WithoutCancel(ctx), lock)
	return nil
}

// release releases the Lease if it is ours. client-go would do so while the tasks
// still run.
func (e *Elector) release(ctx context.Context, lock resourcelock.Interface) {
	ctx, cancel := context.WithTimeout(ctx, e.Terms.Default().Retry)
	defer cancel()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error { return e.releaseOnce(ctx, lock) })
	if err != nil {
		e.Log.V(1).Info("cannot give the lease back; it expires", "cause", err.Error())
	}
}

// releaseOnce conflicts with a renewal that was cancelled but that the API server still
// completes.
func (e *Elector) releaseOnce(ctx context.Context, lock resourcelock.Interface) error {
	record, _, err := lock.Get(ctx)
	if err != nil || record.HolderIdentity != e.Identity {
		return err
	}
	now := metav1.Now()
	return lock.Update(ctx, resourcelock.LeaderElectionRecord{
		LeaderTransitions:    record.LeaderTransitions,
		LeaseDurationSeconds: 1,
		RenewTime:            now,
		AcquireTime:          now,
	})
}

// Describe implements prometheus.Collector.
func (e *Elector) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- description() }

// Collect implements prometheus.Collector.
func (e *Elector) Collect(metrics chan<- prometheus.Metric) {
	value := 0.0
	if e.Leads() {
		value = 1
	}
	metrics <- prometheus.MustNewConstMetric(description(), prometheus.GaugeValue, value)
}

func description() *prometheus.Desc {
	return prometheus.NewDesc("fairway_leader", "1 on the replica that writes status, events and Secrets; 0 on the others.", nil, nil)
}

// Everywhere is a manager.Runnable that runs on every replica, leader or not.
type Everywhere func(context.Context) error

// Start implements manager.Runnable.
func (e Everywhere) Start(ctx context.Context) error { return e(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (Everywhere) NeedLeaderElection() bool { return false }
