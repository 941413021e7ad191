package announcement

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// life says to the other nodes that this one lives, as long as it holds addresses.
type life struct {
	node     string
	leases   coordinationv1.LeaseInterface // of a client that does nothing else
	holds    func() bool
	returned func() // the API server was away
	log      logr.Logger

	wanted chan chan error // asks for a renewal now

	mu      sync.Mutex
	renewed time.Time // when the last renewal that succeeded was begun
	lease   *coordination.Lease
}

func newLife(config *rest.Config, namespace, node string, holds func() bool, returned func(), log logr.Logger) (*life, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.RateLimiter = -1, nil
	config.UserAgent += "-announcer" // a connection of its own
	clients, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &life{
		node: node, leases: clients.Leases(namespace), holds: holds, returned: returned, log: log, wanted: make(chan chan error),
	}, nil
}

// sure says whether the others know that this node lives.
func (l *life) sure() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.renewed) < loadbalancer.Life
}

// begin returns when the others know that this node lives.
func (l *life) begin(ctx context.Context) error {
	l.mu.Lock()
	fresh := time.Since(l.renewed) < loadbalancer.Renewal
	l.mu.Unlock()
	if fresh {
		return nil
	}
	done := make(chan error, 1)
	select {
	case l.wanted <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run renews until ctx ends. Then it says that this node is back soon, if it holds anything.
func (l *life) run(ctx context.Context) error {
	// A node that holds nothing has no Lease, but not before it is sure that it stays so.
	const idle = time.Minute
	ticker := time.NewTicker(loadbalancer.Renewal)
	defer ticker.Stop()
	var since time.Time // it holds nothing
	for {
		var asked chan error
		select {
		case <-ctx.Done():
			return l.end(context.WithoutCancel(ctx))
		case asked = <-l.wanted:
		case <-ticker.C:
		}
		switch {
		case asked != nil || l.holds():
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		var err error
		if since.IsZero() {
			err = l.renew(ctx, loadbalancer.Life)
		} else if time.Since(since) > idle {
			err = l.remove(ctx)
		}
		if err != nil && ctx.Err() == nil {
			l.log.V(1).Info("other nodes cannot be told that this one lives", "reason", err.Error())
		}
		if asked != nil {
			asked <- err
		}
	}
}

// renew writes the Lease.
func (l *life) renew(ctx context.Context, lasts time.Duration) error {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	seconds := int32(lasts / time.Second)
	now := metav1.NewMicroTime(began)
	lease, err := l.lease, error(nil)
	if lease == nil {
		lease, err = l.leases.Get(ctx, loadbalancer.AnnouncerName(l.node), metav1.GetOptions{})
	}
	write := func() (*coordination.Lease, error) { return l.leases.Update(ctx, lease, metav1.UpdateOptions{}) }
	if apierrors.IsNotFound(err) {
		lease, err = &coordination.Lease{ObjectMeta: metav1.ObjectMeta{Name: loadbalancer.AnnouncerName(l.node)}}, nil
		write = func() (*coordination.Lease, error) { return l.leases.Create(ctx, lease, metav1.CreateOptions{}) }
	}
	if err == nil {
		lease.Labels = map[string]string{loadbalancer.LeaseLabel: loadbalancer.AnnouncerKind}
		lease.Spec = coordination.LeaseSpec{HolderIdentity: &l.node, LeaseDurationSeconds: &seconds, RenewTime: &now}
		l.lease, err = write()
	}
	if err != nil {
		l.lease = nil
		return err
	}
	l.mu.Lock()
	away := time.Since(l.renewed) > loadbalancer.Life && !l.renewed.IsZero()
	l.renewed = began
	l.mu.Unlock()
	if away {
		l.returned()
	}
	return nil
}

func (l *life) remove(ctx context.Context) error {
	if l.lease == nil {
		return nil
	}
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &l.lease.UID, ResourceVersion: &l.lease.ResourceVersion}}
	err := l.leases.Delete(ctx, l.lease.Name, options)
	l.lease = nil
	l.mu.Lock()
	l.renewed = time.Time{}
	l.mu.Unlock()
	return err
}

func (l *life) end(ctx context.Context) error {
	if !l.holds() {
		return nil
	}
	if err := l.renew(ctx, loadbalancer.Restart); err != nil {
		l.log.V(1).Info("other nodes are not told that this one is back soon", "reason", err.Error())
	}
	return nil
}
