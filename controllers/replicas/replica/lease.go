package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	acv1 "k8s.io/client-go/applyconfigurations/coordination/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// How a Lease is kept.
const (
	// Duration is how long a replica that goes silent still counts.
	Duration = 15 * time.Second

	renewal  = 3 * time.Second
	writing  = 3 * time.Second        // for one write
	spacing  = 100 * time.Millisecond // of writes
	revisit  = 5 * time.Second        // of looks at the Envoys
	refresh  = 100 * time.Millisecond // the same, while some Envoys are awaited
	again    = time.Second            // after a write that failed
	farewell = 2 * time.Second        // for the last write

	fieldManager = "fairway-replica" // of a Lease that no other replica writes
)

// Lease keeps this replica's Lease up to date with what its Tracker reports. It is
// a manager.Runnable.
type Lease struct {
	Leases       coordinationv1.LeasesGetter
	Installation installation.Name
	Namespace    string
	Identity     string
	Version      string // of this replica, for people
	Controller   string // whose IngressClasses it serves, for people
	Tracker      *Tracker
	// Envoys returns the connected Envoys; it is Server.Envoys.
	Envoys func() []server.EnvoyState
	// Contact hears of each renewal; may be nil.
	Contact *Contact
	// Reconnect closes a connection on which a write was not answered; may be nil.
	Reconnect func()
	// Unproved counts certificates that gateways do not serve; it is
	// Server.Unproved. It may be nil.
	Unproved func() map[route.Gateway]int
	// Problems returns those that nobody can find by looking at objects; may be
	// nil.
	Problems func() []problem.Problem
	Log      logr.Logger

	wakes chan struct{}

	mu        sync.Mutex
	newcomers recentEnvoys
	awaited   bool
	sent      []route.Gateway // whose Envoys were here until we sent them away
}

// NewLease prepares l, and makes it hear of its Tracker.
func NewLease(l *Lease) *Lease {
	l.wakes = make(chan struct{}, 1)
	l.Tracker.Changed = l.wake
	return l
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica has
// a Lease.
func (l *Lease) NeedLeaderElection() bool { return false }

// Start writes the Lease when there is something new, and every few seconds, until
// ctx ends. Then it removes the Lease, so that no other replica waits for it to
// expire.
func (l *Lease) Start(ctx context.Context) error {
	var written map[string]string
	// next is when the Lease must be written in any case; look is when to look at
	// the Envoys even without an event. Both come, however often we are woken.
	var next, look time.Time
	writes := rate.NewLimiter(rate.Every(spacing), 1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			l.remove(context.WithoutCancel(ctx))
			return nil
		case <-timer.C:
		case <-l.wakes:
		}
		if writes.Wait(ctx) != nil {
			continue // ctx has ended
		}
		if !time.Now().Before(look) {
			l.EnvoysChanged()
			look = time.Now().Add(l.patience())
		}
		report, err := l.report()
		if err != nil {
			return fmt.Errorf("report to other replicas: %w", err)
		}
		// After a write that failed, wait until next.
		if now := time.Now(); !now.Before(next) || written != nil && !maps.Equal(report, written) {
			written, next = report, now.Add(renewal)
			if err := l.renew(ctx, report); err != nil {
				written, next = nil, now.Add(again)
				l.Log.V(1).Info("cannot write the replica's lease; it is tried again", "cause", err.Error())
			}
		}
		look = earlier(look, time.Now().Add(l.patience()))
		timer.Reset(time.Until(earlier(look, next)))
	}
}

// report returns the annotations that the Lease is to carry.
func (l *Lease) report() (map[string]string, error) {
	report := l.Tracker.Report()
	report.Version, report.Controller = l.Version, l.Controller
	if l.Problems != nil {
		report.Problems = l.Problems()
	}
	return report.Annotations()
}

// patience returns the time until the next look at the Envoys.
func (l *Lease) patience() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.awaited {
		return refresh
	}
	return revisit
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// EnvoysChanged looks at the Envoys again.
func (l *Lease) EnvoysChanged() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	counts := l.newcomers.count(l.Envoys(), now)
	if l.Unproved != nil {
		for gateway, n := range l.Unproved() {
			if n > 0 {
				g := counts[gateway]
				g.Unproved = n
				counts[gateway] = g
			}
		}
	}
	before := l.awaited
	l.awaited = false
	for _, g := range counts {
		l.awaited = l.awaited || g.Awaited > 0
	}
	l.awaitSent(counts, now)
	l.Tracker.Envoys(counts)
	if l.awaited && !before {
		l.wake() // so that they are looked at more often from now on
	}
}

// awaitSent marks Envoys as awaited that were sent away because we were cut off,
// for as long as they may need to find a controller. When we are back, no other
// replica may know of them yet.
func (l *Lease) awaitSent(counts map[route.Gateway]Gateway, now time.Time) {
	if l.Contact == nil {
		return
	}
	in, settled := l.Contact.settled(now)
	if settled {
		l.sent = slices.Collect(maps.Keys(counts))
		return
	}
	l.awaited = l.awaited || in && len(l.sent) > 0
	for _, gateway := range l.sent {
		g := counts[gateway]
		g.Awaited = max(g.Awaited, 1)
		counts[gateway] = g
	}
}

func (l *Lease) wake() {
	select {
	case l.wakes <- struct{}{}:
	default:
	}
}

// renew writes the Lease and tells the Contact.
func (l *Lease) renew(ctx context.Context, report map[string]string) error {
	began := time.Now()
	err := l.write(ctx, report)
	if errors.Is(err, context.DeadlineExceeded) && l.Reconnect != nil {
		l.Reconnect()
	}
	switch {
	case l.Contact == nil || ctx.Err() != nil:
	case err != nil:
		l.Contact.failed(err)
	default:
		l.Contact.renewed(began)
	}
	return err
}

func (l *Lease) write(ctx context.Context, report map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, writing)
	defer cancel()
	lease := acv1.Lease(l.name(), l.Namespace).
		WithLabels(l.Installation.Labels(map[string]string{Label: "true"})).
		WithAnnotations(report).
		WithSpec(acv1.LeaseSpec().
			WithHolderIdentity(l.Identity).
			WithLeaseDurationSeconds(int32(Duration / time.Second)).
			WithRenewTime(metav1.NowMicro()))
	_, err := l.Leases.Leases(l.Namespace).Apply(ctx, lease, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// name is the name of the Lease, such as "fairway-controller-POD".
func (l *Lease) name() string { return l.Installation.Controller() + "-" + l.Identity }

func (l *Lease) remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	err := l.Leases.Leases(l.Namespace).Delete(ctx, l.name(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		l.Log.V(1).Info("cannot remove the replica's lease; it expires", "cause", err.Error())
	}
}
